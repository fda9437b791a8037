// SPDX-License-Identifier: Apache-2.0

//! Sites on this machine and the links between them.
//!
//! Whatever one site sends to another passes a relay in this process. Taking a link down is telling
//! the relays, and so are delay, loss, reordering and bandwidth, so that no module of the kernel is
//! needed for them. Connections of processes stay open, as they do when a cable is pulled.
//!
//! Each site is a network namespace that has a way to this process only, if the machine allows it.
//! Otherwise the sites' processes share the loopback interface. Nodes then know of each other by
//! the relays' addresses only. Members that have met try the addresses that they are bound to, so
//! those of the two halves of the network are bound to addresses of different families.

use super::{
    relay::{relay_connections, relay_datagrams},
    wires::{Quality, Wires},
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::JoinSet;

/// Set in a process that runs in a network of its own.
const PRIVATE: &str = "POL_ATTACKS_PRIVATE_NETWORK";
/// Flags of `unshare`, for root and for everybody else.
const UNSHARE_FLAGS: [&[&str]; 2] =
    [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
/// Commands that prepare a network of its own, and one that sites need.
const PREPARE: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && ip netns add probe \
                       && nsenter --net=/run/netns/probe true && ip netns del probe";
/// Address of the relays in a private network.
const HUB: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
/// TCP port of the first site's node for its peers. All ports are below those that systems give to
/// outgoing connections.
const NODE_PORT: u16 = 20_000;
/// TCP port of the first relay between nodes.
const NODE_RELAY_PORT: u16 = 20_100;
/// TCP port of the RPC of the first site's node.
const RPC_PORT: u16 = 20_200;
/// UDP port of the first site's first member.
const MEMBER_PORT: u16 = 21_000;
/// UDP port of the relay to the first site's first member.
const MEMBER_RELAY_PORT: u16 = 23_000;
/// Ports of members for each site.
const MEMBERS: u16 = 200;
/// Greatest number of sites.
const MAX_SITES: u8 = 10;

/// Moves this process into a network of its own, by executing it again, if the machine allows it.
/// Whatever it sets up there vanishes when it ends, however it ends.
///
/// # Errors
///
/// Fails if the network cannot be prepared.
pub(crate) fn enter_private_network() -> Result<()> {
    if is_private() {
        return run("sh", ["-c", PREPARE]);
    }
    let is_allowed =
        |flags: &&[&str]| run("unshare", flags.iter().chain(&["sh", "-c", PREPARE])).is_ok();
    let Some(flags) = UNSHARE_FLAGS.into_iter().find(is_allowed) else {
        eprintln!("no network namespaces on this machine: sites are processes on loopback");
        return Ok(());
    };
    let error = Command::new("unshare")
        .args(flags)
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(PRIVATE, "1")
        .exec();
    Err(error).context("unshare")
}

pub(super) fn is_private() -> bool {
    env::var_os(PRIVATE).is_some()
}

/// The sites' links.
pub(crate) struct Links {
    sites: u8,
    is_private: bool,
    /// Addresses at which relays listen.
    hubs: Vec<IpAddr>,
    wires: Arc<Wires>,
    relays: Mutex<Relays>,
}

/// Tasks of the relays, and the ports of those to members.
#[derive(Default)]
struct Relays(JoinSet<()>, BTreeSet<u16>);

impl Links {
    /// Sets up `sites` sites with relays between their nodes.
    ///
    /// # Errors
    ///
    /// Fails if a namespace or a relay cannot be set up.
    pub(crate) fn new(sites: u8) -> Result<Self> {
        ensure!(sites <= MAX_SITES, "at most {MAX_SITES} sites");
        let is_private = is_private();
        let (first, second) =
            (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
        let hubs = if is_private {
            ip(&format!("addr add {HUB}/32 dev lo"))?;
            (0..sites).try_for_each(add_site)?;
            vec![HUB.into()]
        } else if UdpSocket::bind((second, 0)).is_ok() {
            vec![first, second]
        } else {
            vec![first]
        };
        let (wires, relays) = (Arc::new(Wires::new(sites)), Mutex::default());
        let links = Self { sites, is_private, hubs, wires, relays };
        for from in 0..sites {
            (0..sites).filter(|to| *to != from).try_for_each(|to| links.relay_node(from, to))?;
        }
        Ok(links)
    }

    fn relay_node(&self, from: u8, to: u8) -> Result<()> {
        let address = self.relayed_node_address(from, to);
        let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let target = self.node_address(to);
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        relays.0.spawn(relay_connections(self.wires.clone(), listener, (from, to), target));
        Ok(())
    }

    /// Returns the address at which a site's node listens for its peers.
    pub(crate) fn node_address(&self, site: u8) -> SocketAddr {
        (self.host(site), NODE_PORT + u16::from(site)).into()
    }

    /// Returns the address at which a second node of a site listens for the first one.
    pub(crate) fn second_node_address(&self, site: u8) -> SocketAddr {
        (self.host(site), NODE_PORT + u16::from(MAX_SITES + site)).into()
    }

    /// Returns the address at which the node of the site `from` reaches that of the site `to`.
    pub(crate) fn relayed_node_address(&self, from: u8, to: u8) -> SocketAddr {
        let port = NODE_RELAY_PORT + u16::from(from * MAX_SITES + to);
        (self.hubs[0], port).into()
    }

    /// Returns the port of the RPC of a site's node.
    pub(crate) fn rpc_port(&self, site: u8) -> u16 {
        RPC_PORT + u16::from(site)
    }

    /// Returns the port of the RPC of a second node of a site.
    pub(crate) fn second_rpc_port(&self, site: u8) -> u16 {
        RPC_PORT + u16::from(MAX_SITES + site)
    }

    /// Returns the address of the RPC of a site's node for this process. Links between sites have
    /// no effect on it.
    pub(crate) fn rpc_address(&self, site: u8) -> SocketAddrV4 {
        SocketAddrV4::new(self.host(site), self.rpc_port(site))
    }

    /// Returns the address that a member of a site listens at, and those by which all sites reach
    /// it. `index` tells the members of a site apart.
    ///
    /// # Errors
    ///
    /// Fails if the relay to the member cannot be set up.
    pub(crate) fn member_addresses(
        &self,
        site: u8,
        index: u16,
    ) -> Result<(SocketAddr, Vec<SocketAddr>)> {
        let offset = u16::from(site) * MEMBERS + index;
        let half = usize::from(site >= self.sites / 2);
        let host = match self.hubs.get(half) {
            Some(hub) if !self.is_private => *hub,
            _ => self.host(site).into(),
        };
        let listen = SocketAddr::new(host, MEMBER_PORT + offset);
        let port = MEMBER_RELAY_PORT + offset;
        let relayed: Vec<_> = self.hubs.iter().map(|hub| SocketAddr::new(*hub, port)).collect();
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        if relays.1.insert(port) {
            for address in &relayed {
                let socket = UdpSocket::bind(address).with_context(|| address.to_string())?;
                socket.set_nonblocking(true)?;
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                let wires = self.wires.clone();
                relays.0.spawn(relay_datagrams(wires, socket, (site, listen), site_of_member));
            }
        }
        Ok((listen, relayed))
    }

    /// Returns the address of a site's node for this process.
    fn host(&self, site: u8) -> Ipv4Addr {
        if self.is_private { Ipv4Addr::new(10, 78, site, 2) } else { Ipv4Addr::LOCALHOST }
    }

    /// Returns `true` if each site has an own network that only this process reaches.
    pub(crate) fn are_private(&self) -> bool {
        self.is_private
    }

    /// Returns a command that runs `program` in a site.
    pub(crate) fn command(&self, site: u8, program: &Path) -> Command {
        if !self.is_private {
            return Command::new(program);
        }
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", namespace(site))).arg("--").arg(program);
        command
    }

    /// Parts the two halves of the network.
    pub(crate) fn part(&self) {
        let second_half: Vec<u8> = (self.sites / 2..self.sites).collect();
        self.wires.part(&second_half);
    }

    /// Joins all sites again.
    pub(crate) fn join(&self) {
        self.wires.part(&[]);
    }

    /// Sets the quality of the links between all sites.
    pub(crate) fn set_quality(&self, quality: Quality) {
        self.wires.set_quality(quality);
    }
}

/// Returns the site of the member that sends from this address.
fn site_of_member(sender: SocketAddr) -> Option<u8> {
    let offset = sender.port().checked_sub(MEMBER_PORT)?;
    u8::try_from(offset / MEMBERS).ok().filter(|site| *site < MAX_SITES)
}

/// Sets up a namespace with a link to this process. It has no route to anything but the relays.
fn add_site(site: u8) -> Result<()> {
    let (name, gateway) = (namespace(site), Ipv4Addr::new(10, 78, site, 1));
    ip(&format!("netns add {name}"))?;
    ip(&format!("link add uplink{site} type veth peer name uplink netns {name}"))?;
    ip(&format!("addr add {gateway}/30 dev uplink{site}"))?;
    ip(&format!("link set uplink{site} up"))?;
    ip(&format!("-n {name} addr add 10.78.{site}.2/30 dev uplink"))?;
    ip(&format!("-n {name} link set lo up"))?;
    ip(&format!("-n {name} link set uplink up"))?;
    ip(&format!("-n {name} route add {HUB}/32 via {gateway}"))
}

fn namespace(site: u8) -> String {
    format!("site{site}")
}

fn ip(arguments: &str) -> Result<()> {
    run("ip", arguments.split(' '))
}

pub(super) fn run(
    program: &str,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<()> {
    let mut command = Command::new(program);
    let output = command.args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_apart_and_tell_the_site_of_a_member() {
        let last = u16::from(MAX_SITES) * MEMBERS;
        assert!(NODE_PORT + u16::from(2 * MAX_SITES) <= NODE_RELAY_PORT);
        assert!(NODE_RELAY_PORT + u16::from(MAX_SITES * MAX_SITES) <= RPC_PORT);
        assert!(RPC_PORT + u16::from(2 * MAX_SITES) <= MEMBER_PORT);
        assert!(MEMBER_PORT + last <= MEMBER_RELAY_PORT && MEMBER_RELAY_PORT + last < 32_768);
        let site = |port: u16| site_of_member((Ipv4Addr::LOCALHOST, port).into());
        assert_eq!(site(MEMBER_PORT + 3 * MEMBERS + 7), Some(3));
        assert_eq!(site(MEMBER_PORT - 1), None);
        assert_eq!(site(MEMBER_PORT + last), None);
    }
}
