// SPDX-License-Identifier: Apache-2.0

//! Speed of candle with a LLaMA in GGUF: `candle-speed FILE PROMPT TOKENS SECONDS` prints JSON.

use candle_core::{D, Device, Tensor, quantized::gguf_file::Content};
use candle_transformers::models::quantized_llama::ModelWeights;
use std::{
    env,
    error::Error,
    fs::{self, File},
    time::{Duration, Instant},
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [path, prompt, tokens, seconds] = &arguments[..] else {
        return Err("give a file, tokens of the prompt, tokens to write, and seconds".into());
    };
    let (prompt, tokens): (usize, usize) = (prompt.parse()?, tokens.parse()?);
    let start = Instant::now();
    let mut file = File::open(path)?;
    let content = Content::read(&mut file)?;
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
    let load = start.elapsed().as_secs_f64();
    let ids: Vec<u32> =
        (0..prompt as u32).map(|i| i.wrapping_mul(2_654_435_761) % 40_000).collect();
    let (mut read, mut written) = (0f64, 0f64);
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    loop {
        let start = Instant::now();
        // A text that begins at place 0 replaces the one before.
        let input = Tensor::new(ids.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
        let mut next = likeliest(&model.forward(&input, 0)?)?;
        read = read.max(prompt as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for place in prompt..prompt + tokens {
            let input = Tensor::new(&[next], &Device::Cpu)?.unsqueeze(0)?;
            next = likeliest(&model.forward(&input, place)?)?;
        }
        written = written.max(tokens as f64 / start.elapsed().as_secs_f64());
        if Instant::now() >= end {
            break;
        }
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    println!(
        "{{\"load_seconds\": {load}, \"prompt_tokens_per_second\": {read}, \
         \"tokens_per_second\": {written}, \"peak_memory\": {}}}",
        peak * 1_024
    );
    Ok(())
}

fn likeliest(logits: &Tensor) -> candle_core::Result<u32> {
    logits.flatten_all()?.argmax(D::Minus1)?.to_scalar::<u32>()
}
