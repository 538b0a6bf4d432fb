//! `passbridge completions` and `passbridge man`: from the command definition itself, so that they say what the program does.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Arguments, NO, show};

/// Prints the completions of a shell.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "passbridge", &mut script);
    printed(&script)
}

/// Prints the page of the program; with a directory, writes a page there for it and for each command.
pub(super) fn man(directory: Option<&Path>) -> ExitCode {
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    let Some(directory) = directory else {
        return match page(&program) {
            Ok((_, page)) => printed(&page),
            Err(error) => show::ended(Err(error), 0),
        };
    };
    match fs::create_dir_all(directory).and_then(|()| write(&program, directory)) {
        Ok(count) => {
            show::say(&format!("{count} pages are in {0}\n  hint: man -l {0}/passbridge.1", directory.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let hint = "hint: --dir names a directory that you may write, or that may be made";
            let words = show::words(&error);
            show::failed(NO, format!("the pages cannot be written into {}: {words}\n  {hint}", directory.display()))
        }
    }
}

/// A page for a command and for each below it; how many.
fn write(command: &Command, directory: &Path) -> std::io::Result<usize> {
    let (name, page) = page(command)?;
    fs::write(directory.join(name), page)?;
    command.get_subcommands().try_fold(1, |count, command| Ok(count + write(command, directory)?))
}

/// The page's file name, and the page.
fn page(command: &Command) -> std::io::Result<(String, Vec<u8>)> {
    let version = concat!("passbridge ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(version).manual("passbridge");
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok((man.get_filename(), page))
}

fn printed(text: &[u8]) -> ExitCode {
    show::ended(show::data().write_all(text), 0)
}
