//! What a GGUF file's metadata says of its model.

use crate::{
    ImportError,
    config::{Described, SpecialTokens, billionths, whole_base},
    files::{
        Table,
        gguf::{Metadata, Value},
    },
    mapping::{Dialect, same, turned},
};
use pol_primitives::model::{Activation, Biases, Mind, ModelSpec, Norm, Positions};

const LLAMA: Dialect = Dialect {
    family: "llama",
    prefix: "",
    rules: &[
        same("wte.weight", &["token_embd.weight"]),
        same("h.*.ln_1.weight", &["blk.*.attn_norm.weight"]),
        turned(
            "h.*.attn.c_attn.weight",
            &["blk.*.attn_q.weight", "blk.*.attn_k.weight", "blk.*.attn_v.weight"],
        ),
        same(
            "h.*.attn.c_attn.bias",
            &["blk.*.attn_q.bias", "blk.*.attn_k.bias", "blk.*.attn_v.bias"],
        ),
        turned("h.*.attn.c_proj.weight", &["blk.*.attn_output.weight"]),
        same("h.*.attn.c_proj.bias", &["blk.*.attn_output.bias"]),
        same("h.*.ln_2.weight", &["blk.*.ffn_norm.weight"]),
        turned("h.*.mlp.c_gate.weight", &["blk.*.ffn_gate.weight"]),
        same("h.*.mlp.c_gate.bias", &["blk.*.ffn_gate.bias"]),
        turned("h.*.mlp.c_fc.weight", &["blk.*.ffn_up.weight"]),
        same("h.*.mlp.c_fc.bias", &["blk.*.ffn_up.bias"]),
        turned("h.*.mlp.c_proj.weight", &["blk.*.ffn_down.weight"]),
        same("h.*.mlp.c_proj.bias", &["blk.*.ffn_down.bias"]),
        same("ln_f.weight", &["output_norm.weight"]),
        same("lm_head.weight", &["output.weight"]),
    ],
    head: "output.weight",
    left: &[],
    // Files for llama.cpp have each pair that is rotated together side by side.
    interleaved: true,
};

const GPT_2: Dialect = Dialect {
    family: "gpt2",
    prefix: "",
    rules: &[
        same("wte.weight", &["token_embd.weight"]),
        same("wpe.weight", &["position_embd.weight"]),
        same("h.*.ln_1.weight", &["blk.*.attn_norm.weight"]),
        same("h.*.ln_1.bias", &["blk.*.attn_norm.bias"]),
        turned("h.*.attn.c_attn.weight", &["blk.*.attn_qkv.weight"]),
        same("h.*.attn.c_attn.bias", &["blk.*.attn_qkv.bias"]),
        turned("h.*.attn.c_proj.weight", &["blk.*.attn_output.weight"]),
        same("h.*.attn.c_proj.bias", &["blk.*.attn_output.bias"]),
        same("h.*.ln_2.weight", &["blk.*.ffn_norm.weight"]),
        same("h.*.ln_2.bias", &["blk.*.ffn_norm.bias"]),
        turned("h.*.mlp.c_fc.weight", &["blk.*.ffn_up.weight"]),
        same("h.*.mlp.c_fc.bias", &["blk.*.ffn_up.bias"]),
        turned("h.*.mlp.c_proj.weight", &["blk.*.ffn_down.weight"]),
        same("h.*.mlp.c_proj.bias", &["blk.*.ffn_down.bias"]),
        same("ln_f.weight", &["output_norm.weight"]),
        same("ln_f.bias", &["output_norm.bias"]),
        same("lm_head.weight", &["output.weight"]),
    ],
    head: "output.weight",
    left: &[],
    interleaved: false,
};

/// Reads the description of the model whose tensors are in `table`.
pub(super) fn read(
    metadata: &Metadata,
    table: &Table,
    from: &str,
) -> Result<Described, ImportError> {
    let unsupported =
        |what: String, advice| ImportError::Unsupported { from: from.to_owned(), what, advice };
    let Some(Value::Text(architecture)) = metadata.get("general.architecture") else {
        let reason =
            "it does not say general.architecture; it does not hold a language model".to_owned();
        return Err(ImportError::Config { from: from.to_owned(), reason });
    };
    let fields = Fields { metadata, architecture, from };
    let dialect = match architecture.as_str() {
        "llama" => &LLAMA,
        "gpt2" => &GPT_2,
        other => {
            let advice = "the architectures that can be imported from GGUF are llama and gpt2";
            return Err(unsupported(format!("the architecture '{other}'"), advice));
        }
    };
    if metadata.get("split.count").is_some_and(|count| !matches!(count, Value::Integer(0 | 1))) {
        return Err(unsupported(
            "further files (split.count)".into(),
            "join them first with gguf-split --merge",
        ));
    }
    for (key, what) in
        [("expert_count", "experts"), ("attention.sliding_window", "a sliding window")]
    {
        if fields.integer(key)?.is_some_and(|value| value != 0) {
            return Err(unsupported(
                format!("{what} ({architecture}.{key})"),
                "take a model without",
            ));
        }
    }
    let scaling = fields
        .get("rope.scaling.type")
        .filter(|kind| !matches!(kind, Value::Text(kind) if kind == "none"));
    let old = fields.get("rope.scale_linear").filter(|scale| !matches!(scale, Value::Float(1.0)));
    if scaling.or(old).is_some() || table.entries().contains_key("rope_freqs.weight") {
        return Err(unsupported(
            "rope scaling".into(),
            "take a model without it, or its version of before the context was lengthened",
        ));
    }

    let Some(embedding) = table.entries().get("token_embd.weight") else {
        return Err(ImportError::Missing {
            name: "token_embd.weight".into(),
            expected: vec![],
            from: from.to_owned(),
        });
    };
    let rows = embedding.shape.first().copied().unwrap_or(0);
    let vocabulary = fields.integer("vocab_size")?.unwrap_or(rows.into());
    if vocabulary != i128::from(rows) {
        let reason = format!(
            "has {rows} rows, but {from} says a vocabulary of {vocabulary}; the file was put together wrongly"
        );
        return Err(ImportError::Contradiction { name: "token_embd.weight".into(), reason });
    }
    let vocabulary = fields.fit("vocab_size", vocabulary)?;
    let (width, heads) =
        (fields.size("embedding_length")?, fields.size::<u16>("attention.head_count")?);
    let layers = fields.size("block_count")?;
    let (feed_forward, context) =
        (fields.size("feed_forward_length")?, fields.size("context_length")?);
    // Some converters write a copy of tied embeddings, which is the only thing that tells.
    let tied = match table.entries().get("output.weight") {
        None => true,
        Some(output)
            if (output.encoding, &output.shape) != (embedding.encoding, &embedding.shape) =>
        {
            false
        }
        Some(output) => {
            let values = |entry| {
                table
                    .values(entry)
                    .map_err(|source| ImportError::File { path: from.into(), source })
            };
            values(output)? == values(embedding)?
        }
    };
    let has = |name: &str| table.entries().contains_key(name);
    let spec = if architecture == "gpt2" {
        let epsilon = fields.epsilon("attention.layer_norm_epsilon")?;
        ModelSpec {
            norm: Norm::Layer { epsilon },
            tied,
            ..ModelSpec::gpt2(vocabulary, width, layers, heads, feed_forward, context)
        }
    } else {
        let head_size: u16 = match fields.integer("attention.key_length")? {
            Some(size) => fields.fit("attention.key_length", size)?,
            None => fields.fit("embedding_length", i128::from(width / u32::from(heads)))?,
        };
        if fields.integer("attention.value_length")?.is_some_and(|size| size != head_size.into()) {
            return Err(unsupported(
                "values of another size than keys".into(),
                "take another model",
            ));
        }
        if fields
            .integer("rope.dimension_count")?
            .is_some_and(|dimensions| dimensions != head_size.into())
        {
            return Err(unsupported(
                "rotation of a part of each head (rope.dimension_count)".into(),
                "take another model",
            ));
        }
        if !head_size.is_multiple_of(2) {
            return Err(fields.refuse(format!(
                "heads have the odd size {head_size}, which cannot be rotated in pairs"
            )));
        }
        let base = fields.float("rope.freq_base")?.unwrap_or(10_000.0);
        let base = whole_base(Some(base)).ok_or_else(|| {
            fields.refuse(format!("rope.freq_base is {base}, not a whole number"))
        })?;
        let key_value_heads = match fields.integer("attention.head_count_kv")? {
            Some(heads) => fields.fit("attention.head_count_kv", heads)?,
            None => heads,
        };
        ModelSpec {
            vocabulary,
            width,
            layers,
            heads,
            key_value_heads,
            head_size,
            feed_forward,
            context,
            activation: Activation::Silu,
            gated: true,
            norm: Norm::Rms { epsilon: fields.epsilon("attention.layer_norm_rms_epsilon")? },
            positions: Positions::Rotary { dimensions: head_size, base, interleaved: false },
            local: None,
            scaled: true,
            parallel: false,
            biases: Biases {
                query_key_value: has("blk.0.attn_q.bias"),
                attention_output: has("blk.0.attn_output.bias"),
                feed_forward: has("blk.0.ffn_up.bias"),
                head: false,
            },
            tied,
            experts: None,
            mind: Mind::default(),
        }
    };
    Ok(Described { spec, dialect, special: special(metadata) })
}

fn special(metadata: &Metadata) -> SpecialTokens {
    let id = |key| match metadata.get(key) {
        Some(&Value::Integer(id)) => u32::try_from(id).ok(),
        _ => None,
    };
    let template = match metadata.get("tokenizer.chat_template") {
        Some(Value::Text(template)) => Some(template.clone()),
        _ => None,
    };
    let end = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"]
        .into_iter()
        .filter_map(id)
        .collect();
    SpecialTokens { begin: id("tokenizer.ggml.bos_token_id"), end, template }
}

/// The entries of an architecture, whose names begin with its own.
struct Fields<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
    from: &'a str,
}

impl Fields<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn refuse(&self, reason: String) -> ImportError {
        ImportError::Config { from: self.from.to_owned(), reason }
    }

    fn integer(&self, key: &str) -> Result<Option<i128>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Integer(value)) => Ok(Some(value)),
            Some(Value::Integers(_)) => Err(ImportError::Unsupported {
                from: self.from.to_owned(),
                what: format!("a different {key} in each block"),
                advice: "take a model whose blocks are all alike",
            }),
            Some(other) => Err(self.refuse(format!("{key} is {other:?}, not a number"))),
        }
    }

    fn float(&self, key: &str) -> Result<Option<f64>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Float(value)) => Ok(Some(value)),
            Some(other) => {
                Err(self.refuse(format!("{key} is {other:?}, not a floating-point number")))
            }
        }
    }

    fn fit<T: TryFrom<i128> + PartialEq + From<u8>>(
        &self,
        key: &str,
        value: i128,
    ) -> Result<T, ImportError> {
        let size = T::try_from(value).ok().filter(|size| *size != T::from(0));
        size.ok_or_else(|| {
            self.refuse(format!("{key} is {value}, not a size that a model can have"))
        })
    }

    fn size<T: TryFrom<i128> + PartialEq + From<u8>>(&self, key: &str) -> Result<T, ImportError> {
        let value = self
            .integer(key)?
            .ok_or_else(|| self.refuse(format!("it does not say {}.{key}", self.architecture)))?;
        self.fit(key, value)
    }

    fn epsilon(&self, key: &str) -> Result<u32, ImportError> {
        let value = self
            .float(key)?
            .ok_or_else(|| self.refuse(format!("it does not say {}.{key}", self.architecture)))?;
        billionths(value)
            .ok_or_else(|| self.refuse(format!("{key} is {value}, not a multiple of a billionth")))
    }
}
