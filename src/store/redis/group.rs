//! Writes that replicas must have: whatever comes while others are waited for goes together, with one `WAIT` behind all of it, and
//! behind that one look whether the master is it yet. Else each would wait for its own, one after the other, since Redis reads
//! nothing more of a connection until it has answered that.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, RedisResult, Value, cmd};
use tokio::sync::oneshot;

use super::super::settings::Wait;
use super::link::{Lane, Way, failed};
use crate::domain::time::millis;

/// What a write was answered, and how many replicas have it.
pub(super) type Confirmed = (Vec<Value>, u64);

#[derive(Default)]
pub(super) struct Group {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    commands: Vec<Cmd>,
    reply: oneshot::Sender<RedisResult<Confirmed>>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Group")
    }
}

impl Group {
    /// Has these written with the next group.
    pub(super) fn join(&self, commands: Vec<Cmd>) -> oneshot::Receiver<RedisResult<Confirmed>> {
        let (reply, answer) = oneshot::channel();
        self.waiting.lock().push(Waiting { commands, reply });
        answer
    }

    /// Writes what waits by the time that this has its turn. Whoever joins has it done once.
    pub(super) async fn write(self: Arc<Self>, way: Arc<Way>, wait: Wait) {
        let _turn = self.turn.lock().await;
        let waiting = mem::take(&mut *self.waiting.lock());
        if waiting.is_empty() {
            return;
        }
        let mut commands: Vec<Cmd> = waiting.iter().flat_map(|one| one.commands.iter().cloned()).collect();
        commands.push(cmd("WAIT").arg(wait.replicas).arg(millis(wait.timeout)).to_owned());
        let mut answers = match way.run(Lane::Waiting, commands).await {
            Ok(answers) => answers,
            Err(error) => {
                for Waiting { reply, .. } in waiting {
                    drop(reply.send(Err(error.clone())));
                }
                return;
            }
        };
        let replicas = answers.pop().and_then(Result::ok).and_then(|said| u64::from_redis_value(said).ok());
        let replicas = replicas.unwrap_or_default();
        let stays = replicas < wait.replicas || way.stays().await;
        let mut answers = answers.into_iter();
        for Waiting { commands, reply } in waiting {
            let own = own(&mut answers, commands.len());
            let lost = || failed("it may be lost: the Sentinels have made another the master, or are about to");
            drop(reply.send(own.and_then(|own| if stays { Ok((own, replicas)) } else { Err(lost()) })));
        }
    }
}

/// The next so many answers, or the first error among them. All of them are taken: what follows is another's.
fn own<T>(answers: &mut impl Iterator<Item = RedisResult<T>>, count: usize) -> RedisResult<Vec<T>> {
    let own: Vec<_> = answers.take(count).collect();
    own.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use redis::ErrorKind;

    use super::*;

    #[test]
    fn nobody_is_given_what_another_was_answered_when_one_of_a_writes_commands_fails() {
        let full = || Err((ErrorKind::Extension, "OOM").into());
        let mut answers = [full(), Ok(1), Ok(2), full(), Ok(3)].into_iter();
        assert!(own(&mut answers, 2).is_err());
        assert_eq!(own(&mut answers, 1).unwrap(), [2]);
        assert!(own(&mut answers, 1).is_err());
        assert_eq!(own(&mut answers, 1).unwrap(), [3]);
    }
}
