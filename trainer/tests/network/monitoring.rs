// SPDX-License-Identifier: Apache-2.0

use crate::{harness::Network, process::Process};
use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

/// Returns the answer to a request for a path of the endpoint at `address`.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_observer_serves_the_facts_of_the_chain() {
    let network = Network::new();
    let node = network.ready_node();
    let mut command = network.trainer();
    command.args(["observe", "--metrics", "127.0.0.1:0"]);
    let observer = Process::start(&mut command, network.path("observer.log"));
    observer.wait_for("metrics are at", 0, 30);
    let log = observer.log();
    let (_, rest) = log.split_once("metrics are at http://").unwrap();
    let (address, _) = rest.split_once("/metrics").unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while !get(address, "/readyz").starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < end, "{}\n{}", get(address, "/readyz"), node.titled_log());
        sleep(Duration::from_millis(500));
    }
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
    // The facts of a block are read after it was seen. The books are the last of them, and are not
    // even named before the first of them was read.
    let waiting = "\npol_network_rewards_pol{total=\"waiting\"} ";
    let mut metrics = get(address, "/metrics");
    while !metrics.contains(waiting) || metrics.contains(&format!("{waiting}NaN\n")) {
        assert!(Instant::now() < end, "{metrics}");
        sleep(Duration::from_millis(500));
        metrics = get(address, "/metrics");
    }
    for fact in [
        "\npol_build_info{role=\"observer\",version=",
        "\npol_chain_failed_reads_total 0\n",
        "\npol_chain_block_height{block=\"final\"} ",
        "\npol_network_members{role=\"authority\"} 1\n",
        "\npol_round_phase{phase=\"idle\"} 1\n",
        "\nprocess_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(fact), "{fact}\n{metrics}");
    }
    assert!(!metrics.contains("block=\"final\"} NaN"), "{metrics}");
    assert!(!metrics.contains("pol_trainer_"), "{metrics}");
}
