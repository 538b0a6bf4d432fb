//! The way to Redis: a single server, the master that Sentinels name, or a cluster. Every command has a bounded time.
//!
//! Connections live on a runtime of their own, so that workers, each with its own runtime, can share them. A connection that
//! failed is dropped and made anew by the next command; one that had ended before a command was sent, by that command itself.
//! Sentinels are asked once a second, too, and behind what replicas must have, whether another is the master: the former one
//! takes writes for a while, and then throws them away. A cluster learns its slots by itself: its connection is dropped only
//! when nothing of it answers.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisError, RedisResult,
    TlsCertificates, Value,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::super::settings::{Password, RedisMode, RedisSettings, Wait};
use super::group::{Confirmed, Group};
use super::kept::Kept;
use super::sentinel::{Address, Master, Sentinels};
use crate::lifecycle::{self, Tasks, looking_up_names};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

/// For a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// For a connection, asking whom to connect to included: less than who waits for it has patience.
const MAKING: Duration = Duration::from_secs(4);
/// For one command and its answer, a new connection included; in a cluster that comes on top.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often Sentinels are asked who is the master.
const LOOK: Duration = Duration::from_secs(1);
/// So many failures without an answer between them, and a cluster's connection is made anew.
const IN_A_ROW: u32 = 16;

#[derive(Debug)]
pub(super) struct Link {
    handle: Handle,
    way: Arc<Way>,
    group: Arc<Group>,
    /// Ends the runtime when the link is dropped.
    _alive: oneshot::Sender<()>,
}

/// Redis reads nothing more of a connection until it has answered its `WAIT`: so those have one of their own, and reads do not
/// stand behind them.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    Swift,
    Waiting,
}

/// A connection, and to whom.
#[derive(Clone)]
struct Joined {
    connection: MultiplexedConnection,
    address: Option<Address>,
}

#[derive(Default)]
pub(super) struct Lanes {
    swift: Kept<Joined>,
    waiting: Kept<Joined>,
}

impl Lanes {
    const fn of(&self, lane: Lane) -> &Kept<Joined> {
        match lane {
            Lane::Swift => &self.swift,
            Lane::Waiting => &self.waiting,
        }
    }

    /// Drops what leads to another master than this one.
    fn keep_to(&self, master: &Address) {
        for lane in [&self.swift, &self.waiting] {
            lane.forget_if(|joined| joined.address.as_ref() != Some(master));
        }
    }
}

/// What each command was answered.
type Answers = Vec<RedisResult<Value>>;

/// Whom single commands go to.
#[derive(Clone)]
pub(super) enum Server {
    One(Arc<Client>),
    Master(Arc<Sentinels>),
}

pub(super) enum Way {
    Direct { server: Server, open: Lanes },
    Cluster { client: Box<ClusterClient>, open: Kept<ClusterConnection>, failures: AtomicU32 },
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Direct { server: Server::One(_), .. } => "Single",
            Self::Direct { server: Server::Master(_), .. } => "Sentinel",
            Self::Cluster { .. } => "Cluster",
        })
    }
}

impl Link {
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let way = Arc::new(way(settings)?);
        let (alive, dropped) = oneshot::channel::<()>();
        let no_thread =
            |error: io::Error| RedisError::from((redis::ErrorKind::Io, "no thread for the store", error.to_string()));
        let runtime = lifecycle::runtime("store-redis").map_err(no_thread)?;
        let handle = runtime.handle().clone();
        let _inside = handle.enter();
        let watched = Arc::clone(&way);
        Tasks::new(CancellationToken::new()).keep(move || Arc::clone(&watched).watch());
        let dropped = looking_up_names(dropped).map_err(no_thread)?;
        #[expect(clippy::disallowed_methods, reason = "the store's one thread; it ends when the store is dropped")]
        Builder::new()
            .name("store-redis".to_owned())
            .spawn(move || {
                let _end = runtime.block_on(dropped);
                runtime.shutdown_background();
            })
            .map_err(no_thread)?;
        Ok(Self { handle, way, group: Arc::default(), _alive: alive })
    }

    /// Sends commands and waits for all their answers: one round trip, in a cluster one for each command side by side.
    pub(super) async fn run(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let way = Arc::clone(&self.way);
        let ran = self.handle.spawn(async move { way.run(Lane::Swift, commands).await });
        all(ran.await.unwrap_or_else(|_| Err(failed("the store has ended"))))
    }

    /// The same for what replicas must have; answers how many do.
    pub(super) async fn run_waiting(&self, commands: Vec<Cmd>, wait: Wait) -> RedisResult<Confirmed> {
        let answer = self.group.join(commands);
        self.handle.spawn(Arc::clone(&self.group).write(Arc::clone(&self.way), wait));
        answer.await.unwrap_or_else(|_| Err(failed("the store has ended")))
    }

    /// The same from a thread that is no runtime's, for opening.
    pub(super) fn run_blocking(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let way = Arc::clone(&self.way);
        self.handle.spawn(async move { drop(sender.send(way.run(Lane::Swift, commands).await)) });
        all(receiver.recv().unwrap_or_else(|_| Err(failed("the store has ended"))))
    }
}

pub(super) fn failed(sentence: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::Io, sentence))
}

/// All answers, if each is one.
fn all(answers: RedisResult<Answers>) -> RedisResult<Vec<Value>> {
    answers?.into_iter().collect()
}

async fn in_time<T>(patience: Duration, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "Redis did not answer in time");
    timeout(patience, work).await.unwrap_or_else(|_| Err(late().into()))
}

/// Whether a URL is one of a Redis, as far as it can be told without asking.
#[must_use]
pub fn is_redis(url: &str) -> bool {
    url.into_connection_info().is_ok()
}

fn way(settings: &RedisSettings) -> RedisResult<Way> {
    let mut infos = Vec::new();
    for url in &settings.urls {
        infos.push(url.as_str().into_connection_info()?);
    }
    let is_secure = settings.urls.iter().any(|url| url.starts_with("rediss://"));
    let tls = is_secure.then(|| TlsCertificates { client_tls: None, root_cert: settings.ca.clone() });
    let open = |info: ConnectionInfo| match &tls {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    };
    let no_url = || RedisError::from((redis::ErrorKind::InvalidClientConfig, "no URL"));
    let user = (&settings.username, &settings.password);
    let first = infos.first().cloned().ok_or_else(no_url).map(|info| signed_in(info, user))?;
    let direct = |server| Way::Direct { server, open: Lanes::default() };
    match &settings.mode {
        RedisMode::Single => Ok(direct(Server::One(Arc::new(open(first)?)))),
        RedisMode::Sentinel { master } => {
            let user = (&settings.sentinel_username, &settings.sentinel_password);
            // The database is the master's.
            let plain = |info: ConnectionInfo| info.set_redis_settings(redis::RedisConnectionInfo::default());
            let clients = infos.into_iter().map(|info| open(signed_in(plain(info), user)));
            let clients = clients.collect::<RedisResult<Vec<_>>>()?;
            let sentinels = Sentinels::new(clients, master, Master { like: first, tls });
            Ok(direct(Server::Master(Arc::new(sentinels))))
        }
        RedisMode::Cluster => {
            let infos: Vec<_> = infos.into_iter().map(|info| signed_in(info, user)).collect();
            let mut builder = ClusterClient::builder(infos)
                .connection_timeout(CONNECT)
                .response_timeout(PATIENCE)
                .retries(3)
                .tcp_settings(tcp());
            if let Some(certificates) = tls.filter(|_| settings.ca.is_some()) {
                builder = builder.certs(certificates);
            }
            Ok(Way::Cluster { client: Box::new(builder.build()?), open: Kept::default(), failures: AtomicU32::new(0) })
        }
    }
}

/// What waits is sent at once; and one that is silent, as by night, is not forgotten by what stands between.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_keepalive(TcpKeepalive::new().with_time(Duration::from_mins(1)))
}

fn signed_in(info: ConnectionInfo, (username, password): (&Option<String>, &Option<Password>)) -> ConnectionInfo {
    let mut redis = info.redis_settings().clone();
    if let Some(username) = username {
        redis = redis.set_username(username);
    }
    if let Some(password) = password {
        redis = redis.set_password(password.0.expose_secret());
    }
    info.set_redis_settings(redis).set_tcp_settings(tcp())
}

impl Server {
    fn join(&self) -> BoxFuture<'static, RedisResult<Joined>> {
        let server = self.clone();
        in_time(MAKING, async move {
            let (client, address) = match server {
                Self::One(client) => (client, None),
                Self::Master(sentinels) => {
                    let address = sentinels.address().await?;
                    (Arc::new(sentinels.master.at(address.clone())?), Some(address))
                }
            };
            let config =
                AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(PATIENCE));
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            Ok(Joined { connection, address })
        })
        .boxed()
    }
}

impl Way {
    /// Answers each command.
    pub(super) async fn run(&self, lane: Lane, commands: Vec<Cmd>) -> RedisResult<Answers> {
        match self {
            Self::Direct { server, open } => direct(server, open.of(lane), &commands).await,
            Self::Cluster { client, open, failures } => {
                let client = client.clone();
                let make = || in_time(MAKING, async move { client.get_async_connection().await }).boxed();
                let (number, connection) = in_time(PATIENCE, open.connection(make)).await?;
                let answers = in_time(PATIENCE, each(&connection, commands)).await;
                if !is_lost(&answers) {
                    failures.store(0, Ordering::Relaxed);
                } else if failures.fetch_add(1, Ordering::Relaxed) + 1 >= IN_A_ROW {
                    failures.store(0, Ordering::Relaxed);
                    open.forget(number);
                }
                answers
            }
        }
    }

    /// Whether the master that was just written to by the waiting lane is it yet and stays it, as far as Sentinels say. A former
    /// one may have replicas left that confirm what it takes, and throw it away with it. Who asks has the lane to itself.
    pub(super) async fn stays(&self) -> bool {
        let Self::Direct { server: Server::Master(sentinels), open } = self else { return true };
        let outlook = sentinels.outlook().await;
        if let Some((master, _)) = &outlook {
            open.keep_to(master);
        }
        open.waiting.is_there() && outlook.is_none_or(|(_, stays)| stays)
    }

    /// Leaves a master as soon as the Sentinels name another.
    async fn watch(self: Arc<Self>) {
        let Self::Direct { server: Server::Master(sentinels), open } = &*self else { return };
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !open.swift.is_there() && !open.waiting.is_there() {
                continue;
            }
            if let Ok(master) = sentinels.address().await {
                open.keep_to(&master);
            }
        }
    }
}

async fn direct(server: &Server, lane: &Kept<Joined>, commands: &[Cmd]) -> RedisResult<Answers> {
    let mut pipe = redis::pipe();
    pipe.ignore_errors(); // each is answered by itself
    for command in commands {
        pipe.add_command(command.clone());
    }
    let used = AtomicU64::new(0);
    let answers = in_time(PATIENCE, async {
        let join = || lane.connection(|| server.join());
        let (number, mut joined) = join().await?;
        used.store(number, Ordering::Relaxed);
        match ask(&mut joined.connection, &pipe).await {
            Asked::Sent(answers) => answers,
            // It may have ended long ago, where nobody looked: who sees it idle for long closes it.
            Asked::Unsent(_) => {
                lane.forget(number);
                let (number, mut joined) = join().await?;
                used.store(number, Ordering::Relaxed);
                let (Asked::Sent(answers) | Asked::Unsent(answers)) = ask(&mut joined.connection, &pipe).await;
                answers
            }
        }
    })
    .await;
    if is_lost(&answers) {
        lane.forget(used.into_inner());
    }
    answers
}

/// What became of commands.
enum Asked {
    /// They came to nothing before they were sent.
    Unsent(RedisResult<Answers>),
    Sent(RedisResult<Answers>),
}

async fn ask(connection: &mut MultiplexedConnection, pipe: &Pipeline) -> Asked {
    let mut asked = pin!(pipe.query_async::<Answers>(connection));
    // Who sends them and reads the answers works on this very thread, and had no turn yet.
    match asked.as_mut().now_or_never() {
        Some(over) => Asked::Unsent(over),
        None => Asked::Sent(asked.await),
    }
}

async fn each(connection: &ClusterConnection, commands: Vec<Cmd>) -> RedisResult<Answers> {
    let one = |command: Cmd| {
        let mut connection = connection.clone();
        async move { command.query_async::<Value>(&mut connection).await }
    };
    Ok(join_all(commands.into_iter().map(one)).await)
}

fn is_lost(answers: &RedisResult<Answers>) -> bool {
    match answers {
        Ok(answers) => answers.iter().any(|answer| answer.as_ref().is_err_and(lost)),
        Err(error) => lost(error),
    }
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
            sentinel_username: None,
            sentinel_password: None,
            ca: Some(Vec::new()),
            wait: None,
        };
        assert!(way(&settings).is_ok(), "TLS needs a rediss:// URL, which nobody asked for");
    }
}
