//! `passbridge completions` and `passbridge man`.

use std::fs;
use std::process::Command;

use super::said::run;
use crate::support::Plan;

/// The commands that `--help` lists, without `help` itself.
fn commands(help: &str) -> Vec<String> {
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

#[test]
fn a_real_bash_completes_commands_and_options() {
    let world = Plan::new().files();
    let script = world.path().join("passbridge.bash");
    fs::write(&script, run(&world, &["completions", "bash"], "").fine().out).unwrap();
    let completed = |words: &[&str]| {
        let typed = format!(
            "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _passbridge passbridge '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let output =
            Command::new("bash").env("LC_ALL", "C").args(["--norc", "--noprofile", "-uc", &typed]).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success() && err.is_empty(), "{err}");
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed(&["passbridge", "doc"]), ["doctor"]);
    assert_eq!(completed(&["passbridge", "client", "sta"]), ["stage"]);
    assert_eq!(completed(&["passbridge", "client", "list", "--for"]), ["--format"]);
    let mut formats = completed(&["passbridge", "check", "--format", ""]);
    formats.sort();
    assert_eq!(formats, ["human", "json"]);
}

#[test]
fn every_shell_has_completions_that_know_every_command() {
    let world = Plan::new().files();
    let commands = commands(&run(&world, &["--help"], "").fine().out);
    assert!(commands.len() > 10, "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&world, &["completions", shell], "").fine().out;
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} lacks {command}");
        }
    }
    run(&world, &["completions", "tcsh"], "").refused(2, "possible values: bash");
}

#[test]
fn the_page_names_every_command_and_each_has_a_page() {
    let world = Plan::new().files();
    let page = run(&world, &["man"], "").fine().out;
    assert!(page.contains(".TH passbridge 1"), "{page}");
    let directory = world.path().join("man/man1");
    let said = run(&world, &["man", "--dir", directory.to_str().unwrap()], "").fine();
    assert!(said.out.is_empty() && said.err.contains("pages are in"), "{said:?}");
    assert_eq!(fs::read_to_string(directory.join("passbridge.1")).unwrap(), page);
    for command in commands(&run(&world, &["--help"], "").fine().out) {
        assert!(page.contains(&format!("passbridge\\-{command}(1)")), "the page lacks {command}");
        let page = fs::read_to_string(directory.join(format!("passbridge-{command}.1"))).unwrap();
        for below in commands(&run(&world, &[&command, "--help"], "").fine().out) {
            assert!(page.contains(&format!("passbridge\\-{command}\\-{below}(1)")), "{command} lacks {below}");
            assert!(directory.join(format!("passbridge-{command}-{below}.1")).exists(), "{command} {below}");
        }
    }
    assert!(fs::read_to_string(directory.join("passbridge-client-stage.1")).unwrap().contains("\\-\\-why"));
    for page in ["find", "revoke"].map(|action| directory.join(format!("passbridge-token-{action}.1"))) {
        assert!(fs::read_to_string(&page).unwrap().contains("UUID on standard input"), "{}", page.display());
    }
    let taken = world.path().join("file");
    fs::write(&taken, "").unwrap();
    run(&world, &["man", "--dir", taken.to_str().unwrap()], "").refused(1, "cannot be written into");
}
