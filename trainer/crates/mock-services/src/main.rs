// SPDX-License-Identifier: Apache-2.0

//! `pol-mock-services`: a corpus as the services that text comes from, until it is killed.

use clap::Parser;
use pol_mock_services::{Library, Server, read_works};
use std::{io, path::PathBuf, process::ExitCode, thread};

/// Serves a corpus as a hub, a web site with a feed, arXiv, and Stack Exchange, on this machine.
#[derive(Parser)]
struct Options {
    /// Folder of .txt files, one a work.
    #[arg(long, value_name = "DIR", env = "POL_CORPUS")]
    corpus: PathBuf,
    /// Port on 127.0.0.1.
    #[arg(long, value_name = "PORT", default_value_t = 9955)]
    port: u16,
}

fn run(options: &Options) -> io::Result<Server> {
    let works = read_works(&options.corpus)
        .map_err(|error| io::Error::other(format!("{}: {error}", options.corpus.display())))?;
    let (count, library) = (works.len(), Library::new(works));
    let server = Server::listen(options.port, move |request| library.answer(request))
        .map_err(|error| io::Error::other(format!("port {}: {error}", options.port)))?;
    println!("serving {count} works at {}", server.address);
    Ok(server)
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(_server) => loop {
            thread::park();
        },
        Err(error) => {
            eprintln!("pol-mock-services: {error}");
            ExitCode::FAILURE
        }
    }
}
