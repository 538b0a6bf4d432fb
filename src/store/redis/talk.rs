//! Reads and writes: how often each is tried, and what is taken down of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Cmd, RedisError, RedisResult, Value};

use super::super::change::Statistics;
use super::super::error::{Cause, StoreError};
use super::super::measures::Measures;
use super::{Redis, claim, scripts};

impl Redis {
    pub(super) async fn read(&self, command: Cmd) -> Result<Value, StoreError> {
        self.read_all(vec![command]).await.map(|answers| answers.into_iter().next().unwrap_or(Value::Nil))
    }

    pub(super) async fn read_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        self.open_still()?;
        let mut answers = self.measured(self.link.run(commands.clone())).await;
        // A read may be asked twice: the connection may have been to a server that is gone. A cluster's leads by itself to who has taken over from
        // one that is silent, and until then to that one again.
        if answers.as_ref().is_err_and(|error| !(self.is_cluster && error.is_timeout())) {
            answers = self.measured(self.link.run(commands)).await;
        }
        let cannot_read =
            |error| StoreError::CannotRead { what: "a record in Redis".to_owned(), cause: Arc::new(error) };
        answers.map_err(cannot_read)
    }

    pub(super) async fn write(&self, commands: Vec<Cmd>, durable: bool) -> Result<Vec<Value>, StoreError> {
        self.open_still()?;
        let begun = self.clock.monotonic();
        let answers = self.send(commands, durable).await;
        if let Some(measures) = self.measures.get() {
            measures.write_seconds.observe(self.clock.monotonic().saturating_sub(begun).as_secs_f64());
        }
        self.writes.fetch_add(u64::from(answers.is_ok()), Ordering::Relaxed);
        match &answers {
            // What waits for no replica, or frees room, says nothing of what a login needs.
            Ok(_) if !durable || self.failure.load().is_none() => {}
            Ok(_) => self.failure.store(None),
            Err(error) => self.failed_by(error),
        }
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

    async fn send(&self, commands: Vec<Cmd>, durable: bool) -> Result<Vec<Value>, StoreError> {
        let Some(wait) = self.wait.filter(|_| durable) else {
            return self.measured(self.link.run(commands)).await.map_err(cannot_write);
        };
        let (answers, replicas) = self.measured(self.link.run_waiting(commands, wait)).await.map_err(cannot_write)?;
        if replicas < wait.replicas {
            let cause = Arc::new(TooFewReplicas { wanted: wait.replicas, found: replicas });
            return Err(StoreError::CannotWrite { cause });
        }
        Ok(answers)
    }

    /// Observes a round trip.
    async fn measured<T>(&self, trip: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let begun = self.clock.monotonic();
        let answers = trip.await;
        if let Some(measures) = self.measures.get() {
            measures.redis_seconds.observe(self.clock.monotonic().saturating_sub(begun).as_secs_f64());
            if answers.is_err() {
                measures.redis_failed.inc();
            }
        }
        answers
    }

    pub(in super::super) fn measured_by(&self, measures: Measures) {
        // One store is measured by one bridge.
        let _measured_already = self.measures.set(measures);
    }

    /// Takes down whether Redis was heard, and where it took no writes whether it takes them again: so a bridge knows that nobody
    /// asks for a login.
    pub(super) async fn beat(&self, unheard: Option<&StoreError>) {
        if let Some(error) = unheard {
            self.failed_by(error);
        } else if self.failure.load().is_some() {
            // What comes of it is taken down.
            let _ = self.write(vec![claim()], true).await;
        }
    }

    fn failed_by(&self, error: &StoreError) {
        self.failure.store(Some(Arc::new(error.clone())));
    }

    pub(in super::super) fn newest_failure(&self) -> Option<StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Some(StoreError::Closed);
        }
        self.failure.load().as_deref().cloned()
    }

    fn open_still(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Relaxed) { Err(StoreError::Closed) } else { Ok(()) }
    }

    pub(in super::super) fn statistics(&self) -> Statistics {
        Statistics {
            writable: self.newest_failure().is_none(),
            writes: self.writes.load(Ordering::Relaxed),
            failed_writes: self.failed.load(Ordering::Relaxed),
            ..Statistics::default()
        }
    }
}

fn cannot_write(error: RedisError) -> StoreError {
    let is_full = error.code() == Some("OOM");
    let cause: Cause = Arc::new(error);
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
