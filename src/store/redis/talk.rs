//! Reads and writes: how often each is tried, and what is taken down of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Cmd, FromRedisValue, RedisError, Value, cmd};

use super::super::change::Statistics;
use super::super::error::{Cause, StoreError};
use super::{Redis, claim, scripts};
use crate::domain::time::millis;

impl Redis {
    pub(super) async fn read(&self, command: Cmd) -> Result<Value, StoreError> {
        self.read_all(vec![command]).await.map(|answers| answers.into_iter().next().unwrap_or(Value::Nil))
    }

    pub(super) async fn read_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        self.open_still()?;
        let mut answers = self.link.run(commands.clone()).await;
        if answers.is_err() {
            // A read may be asked twice: the connection may have been to a server that is gone.
            answers = self.link.run(commands).await;
        }
        let cannot_read =
            |error| StoreError::CannotRead { what: "a record in Redis".to_owned(), cause: Arc::new(error) };
        answers.map_err(cannot_read)
    }

    pub(super) async fn write(&self, commands: Vec<Cmd>, durable: bool) -> Result<Vec<Value>, StoreError> {
        self.open_still()?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        let answers = self.send(commands, durable).await;
        self.writable.store(answers.is_ok(), Ordering::Relaxed);
        self.failed.fetch_add(u64::from(answers.is_err()), Ordering::Relaxed);
        answers
    }

    /// Writes what ends a login. A Redis that is full takes it all the same (from version 7 on): more is dropped by it than written.
    pub(super) async fn write_an_end(&self, commands: Vec<Cmd>, durable: bool) -> Result<Vec<Value>, StoreError> {
        match self.write(commands.clone(), durable).await {
            Err(StoreError::Full { cause }) => {
                let though_full = commands.iter().map(scripts::though_full).collect();
                self.send(though_full, durable).await.map_err(|_| StoreError::Full { cause })
            }
            written => written,
        }
    }

    async fn send(&self, mut commands: Vec<Cmd>, durable: bool) -> Result<Vec<Value>, StoreError> {
        let answered = commands.len();
        let wait = self.wait.filter(|_| durable);
        let answers = match wait {
            None => self.link.run(commands).await,
            Some(wait) => {
                commands.push(cmd("WAIT").arg(wait.replicas).arg(millis(wait.timeout)).to_owned());
                self.link.run_waiting(commands).await
            }
        };
        let mut answers = answers.map_err(cannot_write)?;
        if let Some(wait) = wait {
            let replicas = answers.pop().map_or(Ok(0), u64::from_redis_value).unwrap_or(0);
            if replicas < wait.replicas {
                let cause = Arc::new(TooFewReplicas { wanted: wait.replicas, found: replicas });
                return Err(StoreError::CannotWrite { cause });
            }
        }
        answers.truncate(answered);
        Ok(answers)
    }

    /// Takes down whether Redis was heard, and where it took no writes whether it takes them again: so a bridge knows that nobody
    /// asks for a login.
    pub(super) async fn beat(&self, heard: bool) {
        if !heard {
            self.writable.store(false, Ordering::Relaxed);
        } else if !self.writable.load(Ordering::Relaxed) {
            // What comes of it is taken down.
            let _ = self.write(vec![claim()], true).await;
        }
    }

    fn open_still(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Relaxed) { Err(StoreError::Closed) } else { Ok(()) }
    }

    pub(in super::super) fn statistics(&self) -> Statistics {
        Statistics {
            writable: self.writable.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            failed_writes: self.failed.load(Ordering::Relaxed),
            ..Statistics::default()
        }
    }
}

fn cannot_write(error: RedisError) -> StoreError {
    let said = error.clone().into_server_errors();
    // Of several commands each failed for the same.
    let first = said.and_then(|errors| errors.first().map(|(_, error)| error.clone()));
    let is_full = first.as_ref().is_some_and(|first| first.code() == "OOM");
    let cause: Cause = Arc::new(first.map_or(error, RedisError::from));
    if is_full { StoreError::Full { cause } } else { StoreError::CannotWrite { cause } }
}

/// Fewer replicas than the configuration asks for have the write.
#[derive(Debug)]
struct TooFewReplicas {
    wanted: u64,
    found: u64,
}

impl std::fmt::Display for TooFewReplicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} replicas have it", self.found, self.wanted)
    }
}

impl std::error::Error for TooFewReplicas {}
