// SPDX-License-Identifier: Apache-2.0

//! A trainer that is steered over HTTP, and the rounds that show it.

use crate::{
    INCLUDED,
    harness::{Network, head_round},
    process::{POLL_INTERVAL, Process},
};
use pol_chain::Signer;
use pol_primitives::RoundNumber;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    panic::catch_unwind,
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

/// Option of a trainer that is steered over HTTP.
pub(crate) const API: [&str; 2] = ["--api", "127.0.0.1:0"];
/// Text of the log of a trainer that has a new lease.
const LEASED: &str = ": leased ";
/// Longest time for which a request is repeated that the server is not ready for.
const READY: Duration = Duration::from_secs(60);

/// Pauses the trainer, lets it take part in one round, and stops it, while others train on.
pub(crate) fn check(network: &Network, trainer: &mut Process, others: &[&Process]) {
    let api = Api::of(trainer);
    let machine = api.get("/machine");
    assert_eq!((&machine["role"], &machine["tier"]), (&json!("trainer"), &json!("whale")));
    assert_eq!(machine["numerics"], "exact", "{machine}");
    assert!(api.get("/metrics").to_string().contains("pol_trainer_segments_total"));
    assert!(api.get("/consensus")["head"]["round"].as_u64() > Some(0));
    let paused = api.pause(network, others);
    let train = api.get("/train");
    assert_eq!((&train["state"], &train["progress"]), (&json!("paused"), &Value::Null), "{train}");

    let leased = trainer.count(LEASED);
    assert_eq!(api.post(&json!({"action": "join", "rounds": 1}))["state"], "running");
    trainer.wait_for(LEASED, leased, 90);
    trainer.wait_for_next(INCLUDED, 90);
    let joined = head_round(&network.status().unwrap());
    assert!(takes_part(network, paused + 1..=RoundNumber::try_from(joined).unwrap()));
    network.wait("the head moves without the trainer", 90, others, |status| {
        head_round(status) > joined
    });
    assert_eq!(trainer.count(LEASED), leased + 1, "{}", trainer.log());
    let once = api.get("/train");
    assert_eq!((&once["state"], &once["rounds_left"]), (&json!("paused"), &json!(0)), "{once}");

    assert_eq!(api.post(&json!({"action": "stop"}))["state"], "stopping");
    trainer.wait_end(300);
    assert!(trainer.log().contains("stopping, as a request asked for"), "{}", trainer.log());
}

/// The HTTP interface of a process.
pub(crate) struct Api {
    address: String,
}

impl Api {
    /// Returns the interface at `address`.
    pub(crate) fn at(address: String) -> Self {
        Self { address }
    }

    fn of(process: &Process) -> Self {
        let log = process.log();
        let (_, rest) = log.rsplit_once("the HTTP interface is at http://").unwrap();
        let (address, _) = rest.split_once(": ").unwrap();
        Self::at(address.to_owned())
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null)
    }

    fn post(&self, body: &Value) -> Value {
        self.ask("POST", "/train", body)
    }

    /// Sends a request, and sends it again when the server asks for that, for a minute at most.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let end = Instant::now() + READY;
        loop {
            let answer = self.send(method, path, body);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            match retry_after(head) {
                Some(wait) if Instant::now() + wait < end => sleep(wait),
                _ => {
                    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
                    return serde_json::from_str(body).unwrap();
                }
            }
        }
    }

    /// Sends a request, and returns the answer with its head.
    fn send(&self, method: &str, path: &str, body: &Value) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Pauses the trainer, waits until it has no lease, and for more rounds without it. Returns the
    /// last of them.
    fn pause(&self, network: &Network, others: &[&Process]) -> RoundNumber {
        assert_eq!(self.post(&json!({"action": "pause"}))["state"], "paused");
        let end = Instant::now() + Duration::from_secs(120);
        while self.get("/train")["activity"]["kind"] != "paused" {
            assert!(Instant::now() < end, "{}", self.get("/train"));
            sleep(POLL_INTERVAL);
        }
        // Its last update may be part of the head of this round, and of none after it.
        let before = head_round(&network.status().unwrap());
        let after = network.wait("the head moves during a pause", 240, others, |status| {
            head_round(status) > before + 1
        });
        let round = |round: u64| RoundNumber::try_from(round).unwrap();
        let last = round(head_round(&after));
        assert!(!takes_part(network, round(before + 2)..=last), "{before} to {last}");
        last
    }
}

/// Returns the time after which a server that is not ready wants to be asked again.
fn retry_after(head: &str) -> Option<Duration> {
    let (status, headers) = head.split_once("\r\n")?;
    let is_unready = status.starts_with("HTTP/1.1 503");
    let mut fields = headers.lines().filter_map(|line| line.split_once(':'));
    let (_, seconds) = fields.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    seconds.trim().parse().ok().filter(|_| is_unready).map(Duration::from_secs)
}

#[test]
fn a_server_that_is_not_ready_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = Api::at(listener.local_addr().unwrap().to_string());
    let answers = [
        "503 Service Unavailable\r\nRetry-After: 1\r\n\r\nlater",
        "200 OK\r\n\r\n{\"state\": \"paused\"}",
        "503 Service Unavailable\r\nretry-after: 3600\r\n\r\nmuch later",
        "500 Internal Server Error\r\nRetry-After: 1\r\n\r\nnever",
    ];
    let server = spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 1_024]).unwrap() > 0);
            write!(stream, "HTTP/1.1 {answer}").unwrap();
        }
    });
    let began = Instant::now();
    assert_eq!(api.post(&json!({"action": "pause"}))["state"], "paused");
    assert!(began.elapsed() >= Duration::from_secs(1));
    for _ in 0..2 {
        assert!(catch_unwind(|| api.get("/train")).is_err(), "it is asked once");
    }
    server.join().unwrap();
}

/// Returns `true` if the chain has an update of `trainer-1` for one of the rounds.
#[tokio::main(flavor = "current_thread")]
async fn takes_part(network: &Network, rounds: std::ops::RangeInclusive<RoundNumber>) -> bool {
    let (chain, account) =
        (network.chain().await, Signer::from_uri("//Trainer//1").unwrap().account());
    for round in rounds {
        let open = chain.submissions(round).await.unwrap();
        let past = chain.history(round).await.unwrap();
        let mut accounts = open.iter().map(|(of, _)| of).chain(past.iter().map(|(of, _)| of));
        if accounts.any(|of| *of == account) {
            return true;
        }
    }
    false
}
