//! `client add`, `stage`, `rollback` and `secret`: one client's entry is changed, and the running bridge has it afterwards.

use std::process::ExitCode;

use super::super::{NO, now, secret as old, show};
use super::{Action, Add, Reference, Slot, Undone, learned, plain, taken, twice, uses};
use crate::config::Config;
use crate::domain::client::Stage;
use crate::mapping::edit::{
    self, Addition, BACK, Desk, Known, NewClient, NewSecret, SecretSlots, is_back, is_back_at, reason_back,
};
use crate::mapping::entries::Entry;
use crate::secrets::Means;

/// Adds a client that no file has.
pub(super) fn add(config: &Config, means: Means<'_>, add: &Add) -> Result<ExitCode, Undone> {
    if let Some(word) = twice(&add.scopes) {
        let hint = "hint: each legacy word is one word at the realm";
        return Err(Undone::Misused(format!("--scope says `{}` twice\n  {hint}", plain(word))));
    }
    let client_secret = add.client_secret.secret()?;
    let legacy_secret = hashed_or(add.legacy_secret.as_ref())?;
    let desk = Desk::open(&config.mappings, means)?;
    if let Ok(there) = desk.entry(&add.id) {
        let hint = format!("hint: passbridge client show {}", add.id);
        return Err(format!("the client `{}` is mapped already, at {}\n  {hint}", add.id, there.origin).into());
    }
    let client = NewClient {
        legacy_id: add.id.clone(),
        legacy_secret,
        client_id: add.client_id.clone(),
        client_secret,
        stage: add.stage.to_owned(),
        dialect: add.dialect.clone(),
        scopes: add.scopes.clone(),
    };
    let changed = desk.add(&Addition::new(&config.mappings, &add.into, &[client])?)?;
    drop(desk);
    Ok(taken::wait(config, &changed, &format!("`{}` is added, at stage {}", add.id, add.stage)))
}

/// Moves a client to a stage.
pub(super) fn stage(config: &Config, means: Means<'_>, id: &str, to: To<'_>, why: &str) -> Result<ExitCode, Undone> {
    let is_canary = to.stage == Stage::Canary.word();
    if to.percent.is_some() && !is_canary {
        return Err(Undone::Misused("--percent goes with the stage `canary` alone\n  hint: leave it out".to_owned()));
    }
    reason(why)?;
    if is_back(why) {
        let hint = "hint: begin it otherwise";
        return Err(Undone::Misused(format!(
            "a reason that begins with `{BACK}` is that of `client rollback`\n  {hint}"
        )));
    }
    let desk = Desk::open(&config.mappings, means)?;
    let entry = desk.entry(id)?;
    if is_canary && to.percent.is_none() && entry.canary.is_none() {
        return Err("of a hundred passports, how many?\n  hint: --percent 5".to_owned().into());
    }
    // A canary may be staged anew where it is: after a step back, or with another share.
    if entry.stage == to.stage && !is_canary {
        let changed = desk.unchanged(&entry);
        drop(desk);
        return Ok(taken::wait(config, &changed, &format!("`{id}` is at stage {} already", to.stage)));
    }
    moved(config, desk, &entry, to, why)
}

/// Where a client goes.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) stage: &'a str,
    /// Of the stage canary, where it is to be another.
    pub(super) percent: Option<u8>,
}

/// Moves a client back to where it was before its last move, else to `legacy` where there is an old server.
pub(super) fn rollback(config: &Config, means: Means<'_>, id: &str, why: Option<&str>) -> Result<ExitCode, Undone> {
    reason(why.unwrap_or(BACK))?;
    let desk = Desk::open(&config.mappings, means)?;
    let entry = desk.entry(id)?;
    let legacy = config.otk.as_ref().map(|_| Stage::Legacy.word());
    let last = entry.stage_change.as_ref();
    let back = last.filter(|change| is_back(&change.why));
    // It was moved by hand since: where a move back began is nowhere to go back to.
    let is_over = back.is_some_and(|change| !is_back_at(&change.why, &entry.stage));
    let before = last.filter(|_| !is_over).map(|change| change.from.as_str()).or(legacy);
    let Some(before) = before else {
        let since = if is_over { " since it was rolled back" } else { "" };
        let hint = format!("hint: say where it goes: passbridge client stage {id} STAGE --why TEXT");
        return Err(format!(
            "`{id}` was moved by no command{since}, and without [otk] there is no stage `legacy` to go back to\n  {hint}"
        )
        .into());
    };
    if entry.stage == before {
        return Err(
            format!("`{id}` is at stage {before} already\n  hint: say where it goes with `client stage`").into()
        );
    }
    if let Some(change) = back.filter(|_| !is_over) {
        let changed = desk.unchanged(&entry);
        drop(desk);
        let hint = format!("hint: to move it forward again: passbridge client stage {id} {before} --why TEXT");
        let (stage, at) = (plain(&entry.stage), plain(&change.at));
        let what = format!("`{id}` is at stage {stage} already, rolled back at {at}\n  {hint}");
        return Ok(taken::wait(config, &changed, &what));
    }
    moved(config, desk, &entry, To { stage: before, percent: None }, &reason_back(before, why))
}

/// Refuses a reason that is none, and one of several lines: an editor's line ends would become its own.
fn reason(why: &str) -> Result<(), Undone> {
    if why.contains(['\n', '\r']) {
        return Err(Undone::Misused(
            "a reason is one line\n  hint: name the ticket, and leave the rest there".to_owned(),
        ));
    }
    if !why.trim().is_empty() {
        return Ok(());
    }
    Err(Undone::Misused("why is it moved?\n  hint: --why \"ticket 4711: moved to the realm\"".to_owned()))
}

fn moved(config: &Config, desk: Desk<'_>, entry: &Entry, to: To<'_>, why: &str) -> Result<ExitCode, Undone> {
    let at = now().rfc3339();
    let changed = desk.change(entry, |table| {
        edit::stage(table, to.stage, &at, why);
        to.percent.map_or(Ok(()), |percent| edit::percent(table, percent))
    })?;
    drop(desk);
    Ok(taken::wait(config, &changed, &format!("`{}` moved from {} to {}", entry.legacy_id, entry.stage, to.stage)))
}

/// Adds, promotes or retires the second of two secrets.
pub(super) fn secret(config: &Config, means: Means<'_>, slot: &Slot) -> Result<ExitCode, Undone> {
    let (key, which) =
        if slot.new { ("client_secret", "secret at the realm") } else { ("legacy_secret", "old secret") };
    let added = match slot.action {
        Action::Add if slot.new && slot.from.is_none() => Some(sealed(config)?),
        Action::Add => Some(hashed_or(slot.from.as_ref())?),
        Action::Promote | Action::Retire | Action::WriteLearned if slot.from.is_some() => {
            return Err(Undone::Misused("--from goes with `add` alone\n  hint: leave it out".to_owned()));
        }
        Action::Promote | Action::Retire | Action::WriteLearned => None,
    };
    let learns = slot.action == Action::WriteLearned;
    if learns && slot.new {
        return Err(Undone::Misused("only old secrets are learned\n  hint: leave --new out".to_owned()));
    }
    if learns && let Some(written) = learned_no_more(config, &slot.id)? {
        return Ok(forgotten(config, &written));
    }
    let hashes = if learns { learned::hashes(config, &slot.id)? } else { Vec::new() };
    let known = asked(config, slot, (key, which))?;
    let desk = Desk::open(&config.mappings, means)?;
    let changed = desk.change(&desk.entry(&slot.id)?, |table| {
        known.still(table)?;
        let mut slots = SecretSlots::of(table, key)?;
        match (slot.action, &added) {
            (Action::Add, Some(secret)) => slots.add(secret)?,
            (Action::Add, None) => {}
            (Action::Promote, _) => slots.promote()?,
            (Action::Retire, _) => slots.retire()?,
            (Action::WriteLearned, _) => slots.learned(&hashes)?,
        }
        slots.into(table, key);
        Ok(())
    })?;
    drop(desk);
    let what = match slot.action {
        Action::Add => format!("has a second {which}"),
        Action::Promote => {
            format!(
                "prefers its second {which}, and the one before is the second now\n  hint: said again, this swaps them back"
            )
        }
        Action::Retire => format!("has one {which} left"),
        Action::WriteLearned => format!("has what was learned written down as its {which}"),
    };
    let taken = taken::wait(config, &changed, &format!("`{}` {what}", slot.id));
    if learns && !learned::forget(config, &slot.id, &changed.file, changed.note.as_deref()) {
        return Ok(ExitCode::from(NO));
    }
    Ok(taken)
}

/// A client's entry, where it does not learn.
fn learned_no_more(config: &Config, id: &str) -> Result<Option<Entry>, Undone> {
    let entry = edit::entry(&config.mappings, id)?;
    Ok(Some(entry).filter(|entry| !learned::is_learned(entry)))
}

/// Of a client that does not learn nothing is to be written; but a command before may have been killed when it had written.
fn forgotten(config: &Config, entry: &Entry) -> ExitCode {
    let (id, unsure) = (&entry.legacy_id, edit::still_unsure(&entry.file));
    if !learned::forget(config, id, &entry.file, unsure.as_deref()) {
        return ExitCode::from(NO);
    }
    show::say(&format!(
        "`{id}` has no {{ learn = true }}: nothing is to be written, and what was learned is forgotten"
    ));
    ExitCode::SUCCESS
}

/// Asks the bridge what is to be known of these secrets first, while nobody has to wait for the files: it may take half a minute.
fn asked(config: &Config, slot: &Slot, (key, which): (&'static str, &str)) -> Result<Known, Undone> {
    let entry = edit::entry(&config.mappings, &slot.id)?;
    let known = Known::of(&entry, key)?;
    if matches!(slot.action, Action::Promote | Action::Retire) && !slot.yes {
        taken::settled(config)?;
    }
    tell_uses(config, slot, which, &entry)?;
    Ok(known)
}

/// A new secret from standard input, sealed: it is sent to the realm, so that a hash of it is of no use.
fn sealed(config: &Config) -> Result<NewSecret, Undone> {
    let Some(recipient) = config.identities.recipient() else {
        let hint = "hint: [secrets] identity = { file = \"age.key\" }, and it is sealed; or put it into a file or a variable of the bridge, and say --from file:PATH or --from env:NAME";
        let reason = format!("a secret of the realm is kept sealed, and no identity is configured\n  {hint}");
        return Err(Undone::Misused(reason));
    };
    let sealed = old::read().and_then(|secret| old::sealed(&secret, &[recipient]));
    sealed.map(NewSecret::Sealed).map_err(Undone::Misused)
}

/// Says when each slot was last used: whoever ends one wants to know.
///
/// # Errors
/// One is to be ended, and it is the one that was used last, or the bridge has seen neither used.
fn tell_uses(config: &Config, slot: &Slot, which: &str, entry: &Entry) -> Result<(), String> {
    let told = match uses::of(config, entry) {
        Ok(told) => told,
        Err(reason) => {
            show::say(&format!("note: when each {which} was last used is not known: {reason}"));
            return Ok(());
        }
    };
    let times = if slot.new { &told.client_secrets } else { &told.legacy_secrets };
    for (place, time) in ["first", "second"].into_iter().zip(times) {
        let words = if slot.new { told.of_new(time.as_deref()) } else { told.of_old(time.as_deref()) };
        show::say(&format!("the {place} {which}: {words}"));
    }
    match times.as_slice() {
        [first, second] if slot.action == Action::Retire && !slot.yes && first < second => {
            let hint = "hint: `promote` makes it the first one; --yes ends it all the same";
            Err(format!("nothing was changed: the second {which} is the one that was used last\n  {hint}"))
        }
        [None, None] if slot.action == Action::Retire && !slot.yes => {
            let hint = "hint: wait until the client has come again; --yes ends the second all the same";
            Err(format!(
                "nothing was changed: the bridge has seen neither {which} used, so it may be the second that is needed\n  {hint}"
            ))
        }
        _ => Ok(()),
    }
}

/// A secret where it lies, or one from standard input as a hash.
fn hashed_or(reference: Option<&Reference>) -> Result<NewSecret, Undone> {
    match reference {
        Some(reference) => reference.secret(),
        None => old::hashed().map(NewSecret::Hash).map_err(Undone::Misused),
    }
}
