//! The way to Redis: a single server, the master that Sentinels name, or a cluster. Every command has a bounded time.
//!
//! Connections live on a runtime of their own, so that workers, each with its own runtime, can share them. A connection that
//! failed is dropped and made anew by the next command: Sentinel is asked again then, and a cluster learns its slots again.

use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, RedisError, RedisResult, TlsCertificates,
    TlsMode, Value,
};
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::settings::{RedisMode, RedisSettings};
use secrecy::ExposeSecret;

/// For a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// For one command and its answer, a new connection included.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Link {
    handle: Handle,
    way: Arc<Way>,
    /// Ends the runtime when the link is dropped.
    _alive: oneshot::Sender<()>,
}

/// Redis reads nothing more of a connection until it has answered its `WAIT`: so those have one of their own, and reads do not
/// stand behind them.
#[derive(Clone, Copy)]
enum Lane {
    Swift,
    Waiting,
}

#[derive(Default)]
struct Lanes {
    swift: Mutex<Option<MultiplexedConnection>>,
    waiting: Mutex<Option<MultiplexedConnection>>,
}

impl Lanes {
    const fn of(&self, lane: Lane) -> &Mutex<Option<MultiplexedConnection>> {
        match lane {
            Lane::Swift => &self.swift,
            Lane::Waiting => &self.waiting,
        }
    }
}

enum Way {
    Single { client: Client, open: Lanes },
    Sentinel { client: tokio::sync::Mutex<SentinelClient>, open: Lanes },
    Cluster { client: ClusterClient, open: Mutex<Option<ClusterConnection>> },
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single { .. } => "Single",
            Self::Sentinel { .. } => "Sentinel",
            Self::Cluster { .. } => "Cluster",
        })
    }
}

impl Link {
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let way = Arc::new(way(settings)?);
        let (alive, dropped) = oneshot::channel::<()>();
        let no_thread = |error: std::io::Error| {
            RedisError::from((redis::ErrorKind::Io, "no thread for the store", error.to_string()))
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let handle = runtime.handle().clone();
        #[expect(clippy::disallowed_methods, reason = "the store's one thread; it ends when the store is dropped")]
        Builder::new()
            .name("store-redis".to_owned())
            .spawn(move || drop(runtime.block_on(dropped)))
            .map_err(no_thread)?;
        Ok(Self { handle, way, _alive: alive })
    }

    /// Sends commands and waits for all their answers: one round trip, in a cluster one for each command side by side.
    pub(super) async fn run(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        self.run_on(Lane::Swift, commands).await
    }

    /// The same with a `WAIT` at its end, for which nothing but its like has to wait.
    pub(super) async fn run_waiting(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        self.run_on(Lane::Waiting, commands).await
    }

    async fn run_on(&self, lane: Lane, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let ran = self.handle.spawn(in_time(Arc::clone(&self.way), lane, commands));
        ran.await.unwrap_or_else(|_| Err(failed("the store has ended")))
    }

    /// The same from a thread that is no runtime's, for opening.
    pub(super) fn run_blocking(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let answers = in_time(Arc::clone(&self.way), Lane::Swift, commands);
        self.handle.spawn(async move { drop(sender.send(answers.await)) });
        receiver.recv().unwrap_or_else(|_| Err(failed("the store has ended")))
    }
}

async fn in_time(way: Arc<Way>, lane: Lane, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
    timeout(PATIENCE, way.run(lane, &commands)).await.unwrap_or_else(|_| {
        way.forget(lane);
        Err(failed("Redis did not answer in time"))
    })
}

fn failed(sentence: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::Io, sentence))
}

/// Whether a URL is one of a Redis, as far as it can be told without asking.
#[must_use]
pub fn is_redis(url: &str) -> bool {
    url.into_connection_info().is_ok()
}

fn way(settings: &RedisSettings) -> RedisResult<Way> {
    let mut infos = Vec::new();
    for url in &settings.urls {
        infos.push(signed_in(url.as_str().into_connection_info()?, settings));
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: settings.ca.clone() };
    let first =
        || infos.first().cloned().ok_or_else(|| RedisError::from((redis::ErrorKind::InvalidClientConfig, "no URL")));
    let tls = settings.urls.iter().any(|url| url.starts_with("rediss://"));
    match &settings.mode {
        RedisMode::Single if tls && settings.ca.is_some() => {
            Ok(Way::Single { client: Client::build_with_tls(first()?, certificates)?, open: Lanes::default() })
        }
        RedisMode::Single => Ok(Way::Single { client: Client::open(first()?)?, open: Lanes::default() }),
        RedisMode::Sentinel { master } => {
            let addresses: Vec<_> = infos.iter().map(|info| info.addr().clone()).collect();
            let database = first()?.redis_settings().db();
            let mut builder = SentinelClientBuilder::new(addresses, master.clone(), SentinelServerType::Master)?
                .set_client_to_redis_db(database);
            if let Some(username) = &settings.username {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = &settings.password {
                builder = builder.set_client_to_redis_password(password.0.expose_secret());
            }
            if tls {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_sentinel_tls_mode(TlsMode::Secure);
                if settings.ca.is_some() {
                    builder = builder
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates);
                }
            }
            Ok(Way::Sentinel { client: tokio::sync::Mutex::new(builder.build()?), open: Lanes::default() })
        }
        RedisMode::Cluster => {
            let mut builder =
                ClusterClient::builder(infos.clone()).connection_timeout(CONNECT).response_timeout(PATIENCE).retries(3);
            if tls && settings.ca.is_some() {
                builder = builder.certs(certificates);
            }
            Ok(Way::Cluster { client: builder.build()?, open: Mutex::default() })
        }
    }
}

fn signed_in(info: ConnectionInfo, settings: &RedisSettings) -> ConnectionInfo {
    let mut redis = info.redis_settings().clone();
    if let Some(username) = &settings.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = &settings.password {
        redis = redis.set_password(password.0.expose_secret());
    }
    info.set_redis_settings(redis)
}

impl Way {
    async fn run(&self, lane: Lane, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        let answers = self.try_run(lane, commands).await;
        if answers.as_ref().is_err_and(lost) {
            self.forget(lane);
        }
        answers
    }

    async fn try_run(&self, lane: Lane, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        if let Self::Cluster { .. } = self {
            let connection = self.cluster().await?;
            let one = |command: Cmd| {
                let mut connection = connection.clone();
                async move { command.query_async::<Value>(&mut connection).await }
            };
            return join_all(commands.iter().cloned().map(one)).await.into_iter().collect();
        }
        let mut connection = self.direct(lane).await?;
        let mut pipe = redis::pipe();
        for command in commands {
            pipe.add_command(command.clone());
        }
        pipe.query_async(&mut connection).await
    }

    async fn direct(&self, lane: Lane) -> RedisResult<MultiplexedConnection> {
        let (Self::Single { open, .. } | Self::Sentinel { open, .. }) = self else { return Err(no_such_way()) };
        let there = open.of(lane).lock().clone();
        if let Some(connection) = there {
            return Ok(connection);
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(PATIENCE));
        let made = match self {
            Self::Single { client, .. } => client.get_multiplexed_async_connection_with_config(&config).await?,
            Self::Sentinel { client, .. } => client.lock().await.get_async_connection_with_config(&config).await?,
            Self::Cluster { .. } => return Err(no_such_way()),
        };
        *open.of(lane).lock() = Some(made.clone());
        Ok(made)
    }

    async fn cluster(&self) -> RedisResult<ClusterConnection> {
        let Self::Cluster { client, open } = self else { return Err(no_such_way()) };
        let there = open.lock().clone();
        if let Some(connection) = there {
            return Ok(connection);
        }
        let made = client.get_async_connection().await?;
        *open.lock() = Some(made.clone());
        Ok(made)
    }

    /// Drops the connection; the next command makes another.
    fn forget(&self, lane: Lane) {
        match self {
            Self::Single { open, .. } | Self::Sentinel { open, .. } => *open.of(lane).lock() = None,
            Self::Cluster { open, .. } => *open.lock() = None,
        }
    }
}

fn no_such_way() -> RedisError {
    RedisError::from((redis::ErrorKind::Client, "that is no such way to Redis"))
}

/// Whether the connection is of no use any more: broken, or to a server that is no longer the master.
fn lost(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.code() == Some("READONLY")
        || error.is_unrecoverable_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_name_begins_like_the_scheme_of_tls_is_spoken_to_in_clear() {
        let settings = RedisSettings {
            urls: vec!["redis://rediss-0.example.org:6379".to_owned()],
            mode: RedisMode::Single,
            username: None,
            password: None,
            ca: Some(Vec::new()),
            wait: None,
        };
        assert!(way(&settings).is_ok(), "TLS needs a rediss:// URL, which nobody asked for");
    }
}
