// SPDX-License-Identifier: Apache-2.0

//! Measures the tokens per second of one stream and of eight at once, through the server.
//!
//! ```sh
//! cargo run --release -p pol-api --example streams             # a random model in bfloat16
//! cargo run --release -p pol-api --example streams -- smollm2  # an imported model
//! ```

use pol_api::{Access, Engine, EngineOptions, Limits, ModelCard, Models, Rate, router, serve};
use pol_generate::{NativeModel, TextTokenizer};
use pol_model::initial_parameters;
use pol_primitives::model::ModelSpec;
use std::{error::Error, net::SocketAddr, num::NonZeroU32, path::Path, thread, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Tokens of each stream.
const TOKENS: usize = 128;
/// Streams at once.
const STREAMS: usize = 8;
/// Measurements, of which the best counts.
const RUNS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let engine = match std::env::args().nth(1) {
        Some(folder) => imported(Path::new(&folder))?,
        None => random()?,
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
async fn speed(address: SocketAddr, streams: usize) -> Result<f64, Box<dyn Error>> {
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

fn start(
    spec: &ModelSpec,
    parameters: &[f32],
    text: TextTokenizer,
    begin: Option<u32>,
) -> Result<Engine, Box<dyn Error>> {
    let threads = thread::available_parallelism()?.get();
    let model = NativeModel::new(spec, parameters, threads)?;
    println!("{:.0} MB of parameters, {threads} threads", model.bytes_per_token() as f64 / 1e6);
    let card = ModelCard {
        name: "measured".into(),
        root: String::new(),
        decoder: String::new(),
        since: 0,
        parameters: spec.size(),
        context: spec.context as usize,
        chat: false,
        receipts: None,
    };
    let options = EngineOptions { places: STREAMS, queue: 64, tokens: 1 << 20, max_tokens: TOKENS };
    Ok(Engine::start(model, text, begin, card, options)?)
}

/// Returns a random model of 42 million parameters, with as many bits as bfloat16 has.
fn random() -> Result<Engine, Box<dyn Error>> {
    let spec = ModelSpec::gpt2(8_192, 512, 12, 8, 2_048, 512);
    let rounded = |value: f32| f32::from_bits(value.to_bits() & 0xffff_0000);
    let parameters: Vec<f32> =
        initial_parameters(&spec, &[1; 32]).into_iter().map(rounded).collect();
    let tokenizer = r#"{"version":"1.0","added_tokens":[],
        "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}"#;
    start(&spec, &parameters, TextTokenizer::parse(tokenizer.as_bytes())?, None)
}

fn imported(folder: &Path) -> Result<Engine, Box<dyn Error>> {
    let model = pol_import::load(folder)?;
    let tokenizer = model.tokenizer.ok_or("the model has no tokenizer")?;
    start(
        &model.spec,
        &model.parameters,
        TextTokenizer::parse(&tokenizer)?,
        model.report.special.begin,
    )
}
