// SPDX-License-Identifier: Apache-2.0

//! Sites on this machine, each in a network namespace, and the links between them.
//!
//! The sites hang on two bridges that one link joins. Taking that link down parts the network in
//! two halves, whatever connections processes have open. Each site has a second link to this
//! process only, so that it can be watched while it is cut off.

use anyhow::{Context, Result, ensure};
use std::{
    env, ffi::OsStr, net::Ipv4Addr, os::unix::process::CommandExt, path::Path, process::Command,
};

/// Set in a process that runs in a network of its own.
const PRIVATE: &str = "POL_ATTACKS_PRIVATE_NETWORK";
/// Flags of `unshare`, for root and for everybody else.
const UNSHARE_FLAGS: [&[&str]; 2] =
    [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
/// Link between the two bridges, by its ends.
const TRUNK: [&str; 2] = ["trunk-a", "trunk-b"];
/// The two bridges.
const BRIDGES: [&str; 2] = ["half-a", "half-b"];

/// Moves this process into a network of its own, by executing it again. Whatever it sets up there
/// vanishes when it ends, however it ends. A process that is there already prepares it.
///
/// # Errors
///
/// Fails where the machine allows no network namespaces.
pub(crate) fn enter_private_network() -> Result<()> {
    if env::var_os(PRIVATE).is_some() {
        run("mount", ["-t", "tmpfs", "tmpfs", "/run"])?;
        return ip("link set lo up");
    }
    let allowed = |flags: &&[&str]| run("unshare", flags.iter().chain(&["true"])).is_ok();
    let flags = UNSHARE_FLAGS.into_iter().find(allowed).context(
        "this machine allows no network namespaces, which several sites need; run as root, or name \
         other families with --only",
    )?;
    let error = Command::new("unshare")
        .args(flags)
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(PRIVATE, "1")
        .exec();
    Err(error).context("unshare")
}

/// The sites' links.
pub(crate) struct Links {
    sites: u8,
}

impl Links {
    /// Sets up `sites` sites, the first half of them on one bridge and the rest on the other.
    ///
    /// # Errors
    ///
    /// Fails outside a [private network](enter_private_network).
    pub(crate) fn new(sites: u8) -> Result<Self> {
        ensure!(env::var_os(PRIVATE).is_some(), "sites are set up in a private network only");
        for bridge in BRIDGES {
            ip(&format!("link add {bridge} type bridge forward_delay 0"))?;
            ip(&format!("link set {bridge} up"))?;
        }
        ip(&format!("link add {} type veth peer name {}", TRUNK[0], TRUNK[1]))?;
        for (end, bridge) in TRUNK.into_iter().zip(BRIDGES) {
            ip(&format!("link set {end} master {bridge} up"))?;
        }
        let links = Self { sites };
        (0..sites).try_for_each(|site| links.add_site(site))?;
        Ok(links)
    }

    fn add_site(&self, site: u8) -> Result<()> {
        let bridge = BRIDGES[usize::from(site >= self.sites / 2)];
        let (name, host) = (namespace(site), Ipv4Addr::new(10, 78, site, 1));
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add uplink{site} type veth peer name uplink netns {name}"))?;
        ip(&format!("link set uplink{site} master {bridge} up"))?;
        ip(&format!("link add watch{site} type veth peer name watch netns {name}"))?;
        ip(&format!("addr add {host}/30 dev watch{site}"))?;
        ip(&format!("link set watch{site} up"))?;
        ip(&format!("-n {name} addr add {}/24 dev uplink", self.address(site)))?;
        ip(&format!("-n {name} addr add {}/30 dev watch", self.watched_address(site)))?;
        ["lo", "uplink", "watch"]
            .into_iter()
            .try_for_each(|link| ip(&format!("-n {name} link set {link} up")))
    }

    /// Returns the address of a site for the other sites.
    pub(crate) fn address(&self, site: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, site + 1)
    }

    /// Returns the address of a site for this process.
    pub(crate) fn watched_address(&self, site: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, site, 2)
    }

    /// Returns a command that runs `program` in a site.
    pub(crate) fn command(&self, site: u8, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", namespace(site))).arg("--").arg(program);
        command
    }

    /// Parts the two halves of the network.
    pub(crate) fn part(&self) -> Result<()> {
        ip(&format!("link set {} down", TRUNK[0]))
    }

    /// Joins the two halves again.
    pub(crate) fn join(&self) -> Result<()> {
        ip(&format!("link set {} up", TRUNK[0]))
    }
}

fn namespace(site: u8) -> String {
    format!("site{site}")
}

fn ip(arguments: &str) -> Result<()> {
    run("ip", arguments.split(' '))
}

fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    let mut command = Command::new(program);
    let output = command.args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
