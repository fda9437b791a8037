// SPDX-License-Identifier: Apache-2.0

//! Commands.

use crate::{
    chain_spec,
    cli::{ABOUT, Cli, EXAMPLES, LONG_ABOUT, Subcommand},
    service,
};
use clap::CommandFactory;
use pol_runtime::opaque::Block;
use polkadot_sdk::{
    sc_cli::{self, SubstrateCli},
    sc_consensus_babe, sc_consensus_grandpa,
    sc_network::{Litep2pNetworkBackend, NetworkWorker, config::NetworkBackendType},
    sc_service::{ChainSpec, Configuration, PartialComponents},
    sp_runtime::traits::Block as BlockT,
};
use std::{fs, io, net::TcpListener, path::Path, sync::Arc};

/// Name of the program.
const PROGRAM: &str = "pol-node";
/// RPC calls a minute for each connection from another machine. A member makes about a tenth.
const RPC_CALLS_A_MINUTE: &str = "3000";
/// Calls that one request may hold. Each may read a thousand storage items.
const BATCH_CALLS: &str = "256";
/// Networks whose connections are not limited.
const THIS_MACHINE: [&str; 2] = ["127.0.0.0/8", "::1/128"];

impl SubstrateCli for Cli {
    fn impl_name() -> String {
        "POL Node".into()
    }

    fn impl_version() -> String {
        env!("SUBSTRATE_CLI_IMPL_VERSION").into()
    }

    fn description() -> String {
        ABOUT.into()
    }

    fn author() -> String {
        "the POL developers".into()
    }

    fn support_url() -> String {
        concat!(env!("CARGO_PKG_REPOSITORY"), "/issues").into()
    }

    fn copyright_start_year() -> i32 {
        2026
    }

    fn load_spec(&self, id: &str) -> Result<Box<dyn ChainSpec>, String> {
        Ok(Box::new(chain_spec::load(id)?))
    }

    fn setup_command(command: clap::Command) -> clap::Command {
        command
            .name(Self::executable_name())
            .version(Self::impl_version())
            .author(Self::author())
            .about(ABOUT)
            .long_about(LONG_ABOUT)
            .after_help(format!("Support: {}", Self::support_url()))
            .after_long_help(format!("{EXAMPLES}\n\nSupport: {}", Self::support_url()))
            .propagate_version(true)
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
            .mut_arg("chain", |chain| {
                chain.long_help(
                    "The chain: `dev`, `local`, or the path of a specification.\n\n\
                     With `dev` the node is its only authority, as with `--dev`, and keeps its \
                     state only under an explicit `--base-path`. [default: local]",
                )
            })
            // Unsafe methods change keys and peers. No web page may call them, not even one on this
            // machine.
            .mut_arg("rpc_methods", |methods| methods.default_value("safe"))
            // Some calls read a thousand storage items. Programs on this machine are trusted.
            .mut_arg("rpc_rate_limit", |limit| {
                let help = "Maximum number of RPC calls a minute for each connection";
                limit.help(help).long_help(help).default_value(RPC_CALLS_A_MINUTE)
            })
            .mut_arg("rpc_max_batch_request_len", |most| most.default_value(BATCH_CALLS))
            .mut_arg("rpc_rate_limit_whitelisted_ips", |addresses| {
                addresses.default_values(THIS_MACHINE)
            })
    }
}

/// Runs the command of the command line.
pub(crate) fn run() -> sc_cli::Result<()> {
    let cli = Cli::from_args().with_dev_defaults();
    match &cli.subcommand {
        None => run_node(&cli),
        Some(Subcommand::Key(command)) => command.run(&cli),
        Some(Subcommand::BuildSpec(command)) => cli
            .create_runner(command)?
            .sync_run(|config| command.run(config.chain_spec, config.network)),
        Some(Subcommand::ExportChainSpec(command)) => command.run(cli.load_spec(&command.chain)?),
        Some(Subcommand::CheckBlock(command)) => cli.create_runner(command)?.async_run(|config| {
            let PartialComponents { client, task_manager, import_queue, .. } =
                service::new_partial(&config)?;
            Ok((command.run(client, import_queue), task_manager))
        }),
        Some(Subcommand::CheckState(command)) => {
            cli.create_runner(command)?.sync_run(|config| command.run(&config))
        }
        Some(Subcommand::ExportBlocks(command)) => {
            cli.create_runner(command)?.async_run(|config| {
                let PartialComponents { client, task_manager, .. } = service::new_partial(&config)?;
                Ok((command.run(client, config.database), task_manager))
            })
        }
        Some(Subcommand::ExportState(command)) => cli.create_runner(command)?.async_run(|config| {
            let PartialComponents { client, task_manager, .. } = service::new_partial(&config)?;
            Ok((command.run(client, config.chain_spec), task_manager))
        }),
        Some(Subcommand::ImportBlocks(command)) => {
            cli.create_runner(command)?.async_run(|config| {
                let PartialComponents { client, task_manager, import_queue, .. } =
                    service::new_partial(&config)?;
                Ok((command.run(client, import_queue), task_manager))
            })
        }
        Some(Subcommand::PurgeChain(command)) => {
            cli.create_runner(command)?.sync_run(|config| command.run(config.database))
        }
        Some(Subcommand::Revert(command)) => cli.create_runner(command)?.async_run(|config| {
            let PartialComponents { client, task_manager, backend, .. } =
                service::new_partial(&config)?;
            let revert_consensus = Box::new(|client, backend, blocks| {
                sc_consensus_babe::revert(Arc::clone(&client), backend, blocks)?;
                sc_consensus_grandpa::revert(client, blocks)?;
                Ok(())
            });
            Ok((command.run(client, backend, Some(revert_consensus)), task_manager))
        }),
        Some(Subcommand::ChainInfo(command)) => {
            cli.create_runner(command)?.sync_run(|config| command.run::<Block>(&config))
        }
        Some(Subcommand::Sign(command)) => command.run(),
        Some(Subcommand::Verify(command)) => command.run(),
        Some(Subcommand::Vanity(command)) => command.run(),
        Some(Subcommand::Completions { shell }) => {
            clap_complete::generate(*shell, &mut program(), PROGRAM, &mut io::stdout());
            Ok(())
        }
        Some(Subcommand::Man { out }) => write_manual(out),
    }
}

/// Returns the command line as a user sees it.
fn program() -> clap::Command {
    Cli::setup_command(Cli::command()).name(PROGRAM)
}

/// Writes the manual pages into a folder, which is made if it does not exist.
fn write_manual(folder: &Path) -> sc_cli::Result<()> {
    let written =
        fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(program(), folder));
    written.map_err(|error| {
        let folder = folder.display();
        sc_cli::Error::Input(format!(
            "cannot write manual pages into {folder}: {error}; name another folder with --out"
        ))
    })
}

fn run_node(cli: &Cli) -> sc_cli::Result<()> {
    let mut runner = cli.create_runner(&cli.run)?;
    ensure_rpc_port_is_free(runner.config_mut())?;
    runner.run_node_until_exit(|config| async move {
        let started = match config.network.network_backend {
            NetworkBackendType::Libp2p => {
                service::new_full::<NetworkWorker<Block, <Block as BlockT>::Hash>>(config)
            }
            NetworkBackendType::Litep2p => service::new_full::<Litep2pNetworkBackend>(config),
        };
        started.map_err(sc_cli::Error::Service)
    })
}

/// Fails if the RPC port is in use. The SDK would listen on a random port instead, which clients
/// do not know.
fn ensure_rpc_port_is_free(config: &mut Configuration) -> sc_cli::Result<()> {
    for endpoint in config.rpc.addr.iter_mut().flatten() {
        endpoint.retry_random_port = false;
        let address = endpoint.listen_addr;
        if !endpoint.is_optional
            && let Err(error) = TcpListener::bind(address)
        {
            return Err(sc_cli::Error::Input(format!(
                "cannot serve JSON-RPC on {address}: {error}; stop the program that uses port \
                 {port}, or choose another port with --rpc-port",
                port = address.port()
            )));
        }
    }
    Ok(())
}
