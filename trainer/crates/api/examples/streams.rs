// SPDX-License-Identifier: Apache-2.0

//! Measures the tokens per second of one stream and of eight at once, through the server.
//!
//! ```sh
//! cargo run --release -p pol-api --example streams             # a random model in bfloat16
//! cargo run --release -p pol-api --example streams -- smollm2  # an imported model
//! ```

#[path = "shared/random_model.rs"]
mod random_model;

use pol_api::{Access, Engine, EngineOptions, Limits, Models, Rate, router, serve};
use pol_generate::TextTokenizer;
use random_model::{random, start};
use std::{error::Error, net::SocketAddr, num::NonZeroU32, path::Path, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Tokens of each stream.
const TOKENS: usize = 128;
/// Streams at once.
const STREAMS: usize = 8;
/// Limits of the model.
const OPTIONS: EngineOptions =
    EngineOptions { places: STREAMS, queue: 64, tokens: 1 << 20, max_tokens: TOKENS };
/// Measurements, of which the best counts.
const RUNS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let engine = match std::env::args().nth(1) {
        Some(folder) => imported(Path::new(&folder))?,
        None => random(OPTIONS)?,
    };
    let most = NonZeroU32::MAX;
    let access = Access::new(None, Rate { per_second: most, burst: most });
    let app = router(Models::new(engine), None, access).build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, app, Limits::default(), std::future::pending()));
    let (mut one, mut all) = (0.0f64, 0.0f64);
    for _ in 0..RUNS {
        one = one.max(speed(address, 1).await?);
        all = all.max(speed(address, STREAMS).await?);
    }
    println!("1 stream: {one:.1} tokens/s");
    println!("{STREAMS} streams: {all:.1} tokens/s, {:.2} times one", all / one);
    Ok(())
}

/// Returns the tokens per second of some streams at once.
async fn speed(address: SocketAddr, streams: usize) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let (start, mut asking) = (Instant::now(), JoinSet::new());
    for seed in 0..streams {
        asking.spawn(stream(address, seed));
    }
    while let Some(answer) = asking.join_next().await {
        let answer = answer??;
        if !answer.contains("[DONE]") {
            return Err(format!("a stream broke off: {answer}").into());
        }
    }
    Ok((streams * TOKENS) as f64 / start.elapsed().as_secs_f64())
}

/// Reads a stream to its end.
async fn stream(address: SocketAddr, seed: usize) -> std::io::Result<String> {
    let body =
        format!(r#"{{"prompt":"abababab","max_tokens":{TOKENS},"seed":{seed},"stream":true}}"#);
    let mut connection = TcpStream::connect(address).await?;
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn imported(folder: &Path) -> Result<Engine, Box<dyn Error + Send + Sync>> {
    let model = pol_import::load(folder)?;
    let tokenizer = model.tokenizer.ok_or("the model has no tokenizer")?;
    let (text, begin) = (TextTokenizer::parse(&tokenizer)?, model.report.special.begin);
    start(&model.spec, &model.parameters, text, begin, OPTIONS)
}
