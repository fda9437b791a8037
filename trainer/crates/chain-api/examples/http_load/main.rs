// SPDX-License-Identifier: Apache-2.0

//! Load test: mixed requests at a fixed rate over an index, beside streams of generated text.
//!
//! ```sh
//! cargo run --release -p pol-index --example load -- 100000 /tmp/load.db    # makes the index
//! cargo run --release -p pol-chain-api --example http_load -- /tmp/load.db
//! ```
//!
//! The arguments are the database, then in any order `--rate N` (requests per second of all clients
//! together, 100), `--seconds N` (120), `--clients N` (8), and `--streams N` (4). Times count from
//! the moment at which a request was due, so that a slow answer counts for those that wait behind
//! it. The program fails if a request does, or if the 95th percentile of an endpoint is 50 ms or
//! more. `scripts/load-test.sh` does all of this.

mod client;
mod endpoints;
#[path = "../../../api/examples/shared/random_model.rs"]
mod random_model;
mod streams;

use client::Connection;
use endpoints::{ENDPOINTS, Facts, Numbers};
use pol_api::{Access, Frame, Limits, Models, Rate, Scope, serve};
use pol_chain_api::{ChainOptions, ChainState, NodeSource, routes};
use pol_index::Index;
use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use streams::Streams;
use tokio::{net::TcpListener, task::JoinSet};

/// Largest 95th percentile.
const LIMIT: Duration = Duration::from_millis(50);
/// Time for which requests are sent before they are measured.
const WARM_UP: Duration = Duration::from_secs(5);

/// Result of parts of this program.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Amount of load.
#[derive(Clone, Copy)]
struct Load {
    rate: u32,
    seconds: u32,
    clients: u32,
    streams: u32,
}

impl Load {
    /// Reads the arguments after the database.
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut load = Self { rate: 100, seconds: 120, clients: 8, streams: 4 };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or("an option lacks its number")?.parse()?;
            match name.as_str() {
                "--rate" => load.rate = value,
                "--seconds" => load.seconds = value,
                "--clients" => load.clients = value,
                "--streams" => load.streams = value,
                _ => return Err(format!("there is no option {name}").into()),
            }
        }
        if load.rate == 0 || load.clients == 0 {
            return Err("a rate and a number of clients are 1 or more".into());
        }
        Ok(load)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let database = arguments.next().ok_or("give a file or the URL of a database")?;
    let load = Load::read(arguments)?;
    let address = start(&database, load).await?;
    let facts = Arc::new(Facts::read(address).await?);
    describe(&database, load, &facts)?;
    let streams = Streams::start(address, load.streams);
    let times = ask(address, load, facts).await?;
    let tokens = streams.tokens.load(Ordering::Relaxed);
    let seconds = WARM_UP + Duration::from_secs(load.seconds.into());
    let slowest = print(&times);
    println!("\n{:.0} tokens/s to {} streams", tokens as f64 / seconds.as_secs_f64(), load.streams);
    println!("slowest 95th percentile: {slowest:.1?}");
    if slowest < LIMIT { Ok(()) } else { Err(format!("{slowest:.1?} is not under 50 ms").into()) }
}

/// Starts a server of the index and of a random model, and returns its address.
async fn start(database: &str, load: Load) -> Result<SocketAddr> {
    let index = Index::open(database).await?;
    if index.last_block().await?.is_none() {
        return Err("the index is empty; fill it with the example load of pol-index".into());
    }
    let most = NonZeroU32::MAX;
    let access = Access::new(None, Rate { per_second: most, burst: most });
    // No node is asked: its answers are not those of the index.
    let options = ChainOptions { follow: false, ..ChainOptions::default() };
    let chain = ChainState::start(NodeSource::Addresses(Vec::new()), index, options);
    let models = Models::default();
    models.replace(streams::engine(load.streams)?);
    let start = Some(Arc::new(chain.clone()) as _);
    let frame = Frame::new(access).with_models(models.clone()).with_library(models, None, start);
    let router = frame.with(Scope::Read, routes(chain)).build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // All clients are on this machine.
    let limits = Limits { client_connections: usize::MAX, ..Limits::default() };
    tokio::spawn(serve(listener, router, limits, std::future::pending()));
    Ok(address)
}

fn describe(database: &str, load: Load, facts: &Facts) -> Result<()> {
    let machine = pol_hardware::detect(Path::new("."))?;
    let memory = machine.memory_bytes as f64 / f64::from(1 << 30);
    let vectors = if machine.avx512 { "AVX-512" } else { "no AVX-512" };
    let (kind, _) = database.split_once("://").unwrap_or(("sqlite", ""));
    println!("{} cores of {}, {vectors}, {memory:.0} GiB", machine.cores, machine.cpu);
    println!(
        "{kind}, {} rounds: {} requests/s of {} clients for {} s, beside {} streams",
        facts.last_round + 1,
        load.rate,
        load.clients,
        load.seconds,
        load.streams
    );
    Ok(())
}

/// Times of the answers of each endpoint.
type Times = BTreeMap<&'static str, Vec<Duration>>;

/// Sends requests at the rate, and returns the times of their answers.
async fn ask(address: SocketAddr, load: Load, facts: Arc<Facts>) -> Result<Times> {
    let start = Instant::now() + Duration::from_millis(100);
    let mut clients = JoinSet::new();
    for number in 0..load.clients {
        clients.spawn(one_client(address, load, Arc::clone(&facts), start, number));
    }
    let mut all = Times::new();
    while let Some(times) = clients.join_next().await {
        for (name, mut times) in times?? {
            all.entry(name).or_default().append(&mut times);
        }
    }
    Ok(all)
}

/// Sends the requests of one client, one after the other over one connection.
async fn one_client(
    address: SocketAddr,
    load: Load,
    facts: Arc<Facts>,
    start: Instant,
    number: u32,
) -> Result<Times> {
    let mut connection = Connection::open(address).await?;
    let mut numbers = Numbers::new(number);
    let mut times = Times::new();
    let end = start + WARM_UP + Duration::from_secs(load.seconds.into());
    // Each client takes every so many-th of the requests and endpoints.
    let mut request = number;
    loop {
        let due = start + Duration::from_secs(1) * request / load.rate;
        if due >= end {
            return Ok(times);
        }
        tokio::time::sleep_until(due.into()).await;
        // A number of clients that divides that of the endpoints must not fix who asks for what.
        let turn = request as usize + request as usize / ENDPOINTS.len();
        let (name, path) = ENDPOINTS[turn % ENDPOINTS.len()];
        let path = path(&facts, &mut numbers);
        let (status, body) = connection.get(&path).await?;
        if status != 200 {
            return Err(format!("{status} for {path}: {body}").into());
        }
        if due >= start + WARM_UP {
            times.entry(name).or_default().push(due.elapsed());
        }
        request += load.clients;
    }
}

/// Prints the percentiles of each endpoint in milliseconds, as a table of Markdown, and returns the
/// slowest 95th.
fn print(times: &Times) -> Duration {
    println!("\n| `GET` | answers | 50 % | 95 % | 99 % | longest |\n|---|---|---|---|---|---|");
    let mut slowest = Duration::ZERO;
    let all: Vec<_> = times.values().flatten().copied().collect();
    let named = times.iter().map(|(name, times)| (format!("`{name}`"), times));
    for (name, times) in named.chain([("all".to_owned(), &all)]) {
        let mut times = times.clone();
        times.sort_unstable();
        let at = |percent: usize| {
            times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
        };
        slowest = slowest.max(at(95));
        let [half, most, nearly, longest] =
            [50, 95, 99, 100].map(|percent| at(percent).as_secs_f64() * 1_000.0);
        println!(
            "| {name} | {} | {half:.1} | {most:.1} | {nearly:.1} | {longest:.1} |",
            times.len()
        );
    }
    slowest
}
