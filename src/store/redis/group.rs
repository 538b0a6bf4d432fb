//! Writes that replicas must have: whatever comes while others are waited for goes together, with one `WAIT` behind all of it.
//! Else each would wait for its own, one after the other, since Redis reads nothing more of a connection until it has answered that.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, RedisResult, Value, cmd};
use tokio::sync::oneshot;

use super::super::settings::Wait;
use super::link::{Lane, Way};
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
        let mut answers = answers.into_iter();
        for Waiting { commands, reply } in waiting {
            let own: RedisResult<Vec<Value>> = answers.by_ref().take(commands.len()).collect();
            drop(reply.send(own.map(|own| (own, replicas.unwrap_or_default()))));
        }
    }
}
