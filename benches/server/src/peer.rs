//! Programs that others would take for the last part of the way: they hold the sockets, and tell all of them what is
//! published. Nothing of a database, of rights, of who watches what, of what somebody has missed: the transport alone.
//! They listen on loopback, and end with this process.

use crate::Outcome;
use crate::bare;
use crate::clock::{self, Nanos};
use crate::processes;
use crate::room::Room;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Beside this program's sources; it is run from the checkout.
const FOLDER: &str = "benches/server/peers";
const NGINX_CONF: &str = include_str!("../peers/nginx.conf");
/// Where Debian has nginx, which is not on everybody's PATH.
const NGINX: [&str; 2] = ["nginx", "/usr/sbin/nginx"];
const NCHAN: &str = "ngx_nchan_module.so";

/// A peer that is installed here.
pub(crate) struct Installed {
    /// With its version.
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    /// No peer, but the least that any of them has to do.
    Bare,
    Ws,
    Nchan {
        nginx: &'static str,
        module: PathBuf,
    },
}

/// Which are here, the bare loop first; and of each that is not, what it is and how it would be.
pub(crate) fn installed() -> (Vec<Installed>, Vec<String>) {
    let bare = Installed { name: "a bare loop".to_owned(), kind: Kind::Bare };
    let (mut here, mut missing) = (vec![bare], Vec::new());
    for (found, absent) in [
        (ws(), "Node with ws (scripts/setup peers)"),
        (nchan(), "nginx with nchan (scripts/setup peers, or apt-get install nginx libnginx-mod-nchan)"),
    ] {
        match found {
            Some(peer) => here.push(peer),
            None => missing.push(format!("not here: {absent}")),
        }
    }
    (here, missing)
}

fn ws() -> Option<Installed> {
    let node = Command::new("node").arg("--version").output().ok().filter(|output| output.status.success())?;
    let package: Value =
        serde_json::from_slice(&fs::read(format!("{FOLDER}/node_modules/ws/package.json")).ok()?).ok()?;
    let name =
        format!("Node {} with ws {}", String::from_utf8_lossy(&node.stdout).trim(), package["version"].as_str()?);
    Some(Installed { name, kind: Kind::Ws })
}

fn nchan() -> Option<Installed> {
    NGINX.into_iter().find_map(|nginx| {
        let output = Command::new(nginx).arg("-V").stdin(Stdio::null()).output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let version = said.split_once("nginx/")?.1.split_whitespace().next()?;
        let modules = said.split_once("--modules-path=")?.1.split_whitespace().next()?;
        let module = Path::new(modules).join(NCHAN);
        let name = format!("nginx {version} with nchan");
        module.exists().then_some(Installed { name, kind: Kind::Nchan { nginx, module } })
    })
}

impl Installed {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(&self) -> Outcome<Peer> {
        let mut room = Room::open()?;
        let mut command = match &self.kind {
            Kind::Bare => {
                let mut this = Command::new(std::env::current_exe()?);
                this.args([bare::COMMAND.to_owned(), room.address.to_string()]);
                this
            }
            Kind::Ws => {
                let mut node = Command::new("node");
                // What the shell asks of Node would change what is measured.
                node.env_remove("NODE_OPTIONS").arg(format!("{FOLDER}/ws.mjs")).arg(room.address.port().to_string());
                node
            }
            Kind::Nchan { nginx, module } => {
                let path = room.folder().join("nginx.conf");
                fs::write(&path, nginx_conf(&room, module)?)?;
                let mut command = Command::new(nginx);
                command.args(["-e", "stderr", "-c"]).arg(path);
                command
            }
        };
        room.start(&mut command).await?;
        Ok(Peer { room, http: reqwest::Client::new() })
    }
}

fn nginx_conf(room: &Room, module: &Path) -> Outcome<String> {
    Ok(NGINX_CONF
        .replace("{module}", &module.to_string_lossy())
        .replace("{folder}", &room.folder().to_string_lossy())
        .replace("{address}", &room.address.to_string())
        .replace("{workers}", &std::thread::available_parallelism()?.to_string()))
}

pub(crate) struct Peer {
    room: Room,
    http: reqwest::Client,
}

impl Peer {
    pub(crate) fn address(&self) -> SocketAddr {
        self.room.address
    }

    /// Whose memory and processor time it costs.
    pub(crate) fn processes(&self) -> Outcome<Vec<u32>> {
        processes::family(self.room.pid())
    }

    /// Has all sockets told this text. Gives when the request was sent.
    pub(crate) async fn publish(&self, text: String) -> Outcome<Nanos> {
        let sent = clock::now();
        let answer = self.http.post(format!("{}/publish", self.room.url())).body(text).send().await?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("a peer answered a publisher {status}").into());
        }
        Ok(sent)
    }
}
