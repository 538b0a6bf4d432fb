//! Where the master is, by what its Sentinels say.
//!
//! All are asked side by side, so that one which hangs costs a glance and no more. Of those that answer, the one with the newest
//! configuration counts: the others have not heard of the failover yet. That one is about to begin, only who leads it knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, RedisResult,
    TlsCertificates, Value, cmd,
};
use tokio::time::timeout;

use super::kept::Kept;

/// So long is a Sentinel waited for; then it is mute.
const MUTE: Duration = Duration::from_millis(500);

/// Host and port.
pub(super) type Address = (String, u16);

pub(super) struct Sentinels {
    all: Vec<Sentinel>,
    /// What they call the master.
    name: String,
    /// How the master is spoken to, at whatever address.
    pub(super) master: Master,
}

/// How a master is spoken to.
pub(super) struct Master {
    pub(super) like: ConnectionInfo,
    /// `None`: in clear.
    pub(super) tls: Option<TlsCertificates>,
}

struct Sentinel {
    client: Client,
    open: Kept<MultiplexedConnection>,
    /// It gave no answer when it was asked last.
    is_mute: AtomicBool,
}

/// What a Sentinel says.
struct Word {
    /// The number of its configuration.
    epoch: u64,
    /// The master in it.
    address: Address,
    /// It is making another the master.
    fails_over: bool,
}

impl Sentinels {
    pub(super) fn new(clients: Vec<Client>, name: &str, master: Master) -> Self {
        let all = clients
            .into_iter()
            .map(|client| Sentinel { client, open: Kept::default(), is_mute: AtomicBool::default() })
            .collect();
        Self { all, name: name.to_owned(), master }
    }

    /// Where the master is.
    pub(super) async fn address(&self) -> RedisResult<Address> {
        let asked = join_all(self.all.iter().map(|sentinel| sentinel.says(&self.name))).await;
        let (said, errors): (Vec<_>, Vec<_>) = asked.into_iter().partition(Result::is_ok);
        let newest = said.into_iter().flatten().max_by_key(|word| word.epoch);
        newest.map(|word| word.address).ok_or_else(|| {
            let why = errors.into_iter().find_map(Result::err);
            why.unwrap_or_else(|| RedisError::from((ErrorKind::EmptySentinelList, "no Sentinel is named")))
        })
    }

    /// Where the master is, and whether it is to stay there, by those that answered last: one which hangs holds up one question.
    /// `None`: nobody says, nor makes another the master.
    pub(super) async fn outlook(&self) -> Option<(Address, bool)> {
        let heard = self.all.iter().filter(|sentinel| !sentinel.is_mute.load(Ordering::Relaxed));
        let asked = join_all(heard.map(|sentinel| sentinel.says(&self.name))).await;
        let said: Vec<Word> = asked.into_iter().flatten().collect();
        let newest = said.iter().max_by_key(|word| word.epoch)?;
        let leaves = said.iter().any(|word| word.fails_over && word.address == newest.address);
        Some((newest.address.clone(), !leaves))
    }
}

impl Master {
    /// Who is spoken to at this address.
    pub(super) fn at(&self, (host, port): Address) -> RedisResult<Client> {
        let Some(certificates) = &self.tls else {
            return Client::open(self.like.clone().set_addr(ConnectionAddr::Tcp(host, port)));
        };
        let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
        Client::build_with_tls(self.like.clone().set_addr(address), certificates.clone())
    }
}

impl Sentinel {
    async fn says(&self, name: &str) -> RedisResult<Word> {
        let word = self.asked(name).await;
        self.is_mute.store(word.is_err(), Ordering::Relaxed);
        word
    }

    async fn asked(&self, name: &str) -> RedisResult<Word> {
        let (number, mut connection) = self.open.connection(|| open(self.client.clone()).boxed()).await?;
        let mut pipe = redis::pipe();
        // The first knows a new master a little earlier, the second which configuration that is of.
        pipe.add_command(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).to_owned());
        pipe.add_command(cmd("SENTINEL").arg("MASTER").arg(name).to_owned());
        let answers = timeout(MUTE, pipe.query_async::<(Option<Address>, Value)>(&mut connection)).await;
        let answers = answers.unwrap_or_else(|_| Err(RedisError::from((ErrorKind::Io, "a Sentinel does not answer"))));
        if answers.is_err() {
            self.open.forget(number);
        }
        let (address, about) = answers?;
        let about = HashMap::<String, String>::from_redis_value(about)?;
        let epoch = about.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        let no_such = || RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no Sentinel knows this master"));
        let address = address.ok_or_else(no_such)?;
        // From the promotion on the first names the next master, and the second still the former one.
        let is_former = about.get("ip") == Some(&address.0) && about.get("port") == Some(&address.1.to_string());
        let is_at_it =
            about.get("flags").is_some_and(|flags| flags.split(',').any(|flag| flag == "failover_in_progress"));
        Ok(Word { epoch, address, fails_over: is_at_it && is_former })
    }
}

async fn open(client: Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(MUTE)).set_response_timeout(Some(MUTE));
    let opened = timeout(MUTE, client.get_multiplexed_async_connection_with_config(&config)).await;
    opened.unwrap_or_else(|_| Err(RedisError::from((ErrorKind::Io, "a Sentinel does not answer"))))
}
