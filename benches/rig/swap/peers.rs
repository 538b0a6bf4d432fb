//! What a site could put there instead: nginx as it is, nginx with one JWT for all, nginx with Lua and a shared dict, `HAProxy` with a map.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Process, eventually};
use crate::site::free;

/// A running peer.
pub struct Peer {
    pub process: Process,
    pub address: SocketAddr,
}

/// What nginx does with the bearer.
#[derive(Clone, Copy)]
pub enum Bearer<'a> {
    /// Passes it on.
    AsItCame,
    /// Puts this JWT in its place, whatever came.
    Fixed(&'a str),
    /// Finds the JWT in a shared dict, which holds these pairs.
    Lua(&'a [(String, String)]),
}

/// Where nginx keeps the bodies that it passes on.
#[derive(Clone, Copy)]
pub enum Bodies {
    /// As it is: in files, beyond 16 KB of a request's and 64 KB of an answer's.
    AsItIs,
    /// A request's whole in memory.
    RequestInMemory,
    /// Both whole in memory.
    InMemory,
}

impl Bodies {
    const fn settings(self) -> &'static str {
        match self {
            Self::AsItIs => "",
            Self::RequestInMemory => "client_body_buffer_size 256k;",
            Self::InMemory => "client_body_buffer_size 256k; proxy_buffers 32 8k; proxy_busy_buffers_size 64k;",
        }
    }
}

/// One worker, connections that stay open on both sides.
pub fn nginx(folder: &Path, api: SocketAddr, bearer: Bearer<'_>, bodies: Bodies) -> Peer {
    fs::create_dir_all(folder).unwrap();
    let address = free();
    let (dir, bodies) = (folder.display(), bodies.settings());
    let (modules, http, location) = match bearer {
        Bearer::AsItCame => (String::new(), String::new(), String::new()),
        Bearer::Fixed(jwt) => (String::new(), String::new(), format!("proxy_set_header Authorization 'Bearer {jwt}';")),
        Bearer::Lua(pairs) => {
            fs::write(folder.join("map"), lines(pairs)).unwrap();
            (
                MODULES.to_owned(),
                format!("lua_shared_dict tokens 256m;\ninit_by_lua_block {{ {} }}", fill(folder)),
                SWAP.to_owned(),
            )
        }
    };
    let text = format!(
        "{modules}daemon off;\nworker_processes 1;\npid {dir}/pid;\nerror_log {dir}/error.log;\nuser root;\n\
         worker_rlimit_nofile 20000;\nevents {{ worker_connections 12000; }}\n\
         http {{\n access_log off;\n keepalive_requests 1000000000;\n keepalive_timeout 300s;\n tcp_nodelay on;\n\
         {bodies}\n proxy_headers_hash_bucket_size 128;\n\
         client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         {http}\n\
         upstream api {{ server {api}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen {address};\n\
         location / {{ {location} proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ''; }}\n}}\n}}\n"
    );
    let config = format!("{dir}/nginx.conf");
    fs::write(&config, text).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-e", &format!("{dir}/error.log"), "-c", &config]);
    begin("nginx", command, address)
}

const MODULES: &str = "load_module /usr/lib/nginx/modules/ndk_http_module.so;\nload_module /usr/lib/nginx/modules/ngx_http_lua_module.so;\n";

const SWAP: &str = "access_by_lua_block {
    local line = ngx.var.http_authorization
    local jwt = line and ngx.shared.tokens:get(string.sub(line, 8))
    if not jwt then return ngx.exit(401) end
    ngx.req.set_header('Authorization', 'Bearer ' .. jwt)
}";

fn fill(folder: &Path) -> String {
    let map = folder.join("map");
    format!(
        "for line in io.lines('{}') do local uuid, jwt = line:match('(%S+) (%S+)') ngx.shared.tokens:set(uuid, jwt) end",
        map.display()
    )
}

fn lines(pairs: &[(String, String)]) -> String {
    pairs.iter().flat_map(|(uuid, jwt)| [uuid, " ", jwt, "\n"]).collect()
}

/// `HAProxy` with these pairs in a map file, one thread.
pub fn haproxy(folder: &Path, api: SocketAddr, pairs: &[(String, String)]) -> Peer {
    fs::create_dir_all(folder).unwrap();
    let address = free();
    let (map, config) = (folder.join("map"), folder.join("haproxy.cfg"));
    fs::write(&map, lines(pairs)).unwrap();
    let map = map.display();
    let text = format!(
        "global\n maxconn 5000\n nbthread 1\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 300s\n timeout server 300s\n timeout http-keep-alive 300s\n\
         frontend front\n bind {address}\n\
         http-request set-var(txn.jwt) req.hdr(authorization),word(2,' '),map({map})\n\
         http-request return status 401 unless {{ var(txn.jwt) -m found }}\n\
         http-request set-header Authorization \"Bearer %[var(txn.jwt)]\"\n\
         default_backend api\n\
         backend api\n http-reuse always\n server api {api}\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-f").arg(&config);
    begin("haproxy", command, address)
}

fn begin(name: &str, mut command: Command, address: SocketAddr) -> Peer {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let process = Process::start(command);
    eventually(&format!("{name} listens"), Duration::from_secs(30), || TcpStream::connect(address).is_ok());
    Peer { process, address }
}
