// SPDX-License-Identifier: Apache-2.0

//! Metadata of a GGUF file.

use super::{ModelDescription, SpecialTokens, billionths, gguf_maps, gguf_rope, whole_base};
use crate::{
    ImportError,
    files::{
        TensorEntry, TensorTable,
        gguf::{Metadata, Value},
    },
    mapping::Factors,
};
use pol_primitives::model::{Activation, Biases, Mind, ModelSpec, Norm, PositionEncoding};

/// Reads the description of the model whose tensors are in `table`.
pub(crate) fn read(
    metadata: &Metadata,
    table: &TensorTable,
    from: &str,
) -> Result<ModelDescription, ImportError> {
    let Some(Value::Text(architecture)) = metadata.get("general.architecture") else {
        let reason =
            "it does not say general.architecture; it does not hold a language model".to_owned();
        return Err(ImportError::Config { from: from.to_owned(), reason });
    };
    let fields = Fields { metadata, architecture, from };
    let tensor_map = match architecture.as_str() {
        "llama" => &gguf_maps::LLAMA,
        "qwen2" => &gguf_maps::QWEN_2,
        "gpt2" => &gguf_maps::GPT_2,
        other => {
            let advice = "the architectures that can be imported from GGUF are gpt2, llama \
                          (Mistral too), and qwen2";
            return Err(fields.unsupported(format!("the architecture '{other}'"), advice));
        }
    };
    fields.refuse_unsupported()?;
    let embedding = embedding(&fields, table)?;
    let sizes = Sizes {
        vocabulary: vocabulary(&fields, embedding)?,
        width: fields.size("embedding_length")?,
        heads: fields.size("attention.head_count")?,
        layers: fields.size("block_count")?,
        feed_forward: fields.size("feed_forward_length")?,
        context: fields.size("context_length")?,
        tied: is_tied(table, embedding, from)?,
    };
    let spec = if architecture == "gpt2" {
        let Sizes { vocabulary, width, layers, heads, feed_forward, context, tied } = sizes;
        ModelSpec {
            norm: Norm::Layer { epsilon: fields.epsilon("attention.layer_norm_epsilon")? },
            tied,
            ..ModelSpec::gpt2(vocabulary, width, layers, heads, feed_forward, context)
        }
    } else {
        llama(&fields, table, sizes)?
    };
    let (factors, special) = (Factors::default(), special_tokens(metadata));
    Ok(ModelDescription { spec, tensor_map, factors, special })
}

/// Sizes that both architectures have.
struct Sizes {
    vocabulary: u32,
    width: u32,
    heads: u16,
    layers: u16,
    feed_forward: u32,
    context: u32,
    tied: bool,
}

fn embedding<'a>(fields: &Fields, table: &'a TensorTable) -> Result<&'a TensorEntry, ImportError> {
    table.entries().get("token_embd.weight").ok_or_else(|| ImportError::Missing {
        name: "token_embd.weight".into(),
        expected: vec![],
        from: fields.from.to_owned(),
    })
}

fn vocabulary(fields: &Fields, embedding: &TensorEntry) -> Result<u32, ImportError> {
    let rows = embedding.shape.first().copied().unwrap_or(0);
    let vocabulary = fields.integer("vocab_size")?.unwrap_or(rows.into());
    if vocabulary != i128::from(rows) {
        let reason = format!(
            "has {rows} rows, but {} says a vocabulary of {vocabulary}; \
             the file was put together wrongly",
            fields.from
        );
        return Err(ImportError::Contradiction { name: "token_embd.weight".into(), reason });
    }
    fields.fit("vocab_size", vocabulary)
}

/// Returns `true` if the output projection is the embedding. Some converters write a copy of tied
/// embeddings, so only the values tell.
fn is_tied(table: &TensorTable, embedding: &TensorEntry, from: &str) -> Result<bool, ImportError> {
    let Some(output) = table.entries().get("output.weight") else { return Ok(true) };
    if (output.encoding, &output.shape) != (embedding.encoding, &embedding.shape) {
        return Ok(false);
    }
    let values = |entry| {
        table.decode(entry).map_err(|source| ImportError::File { path: from.into(), source })
    };
    Ok(values(output)? == values(embedding)?)
}

fn llama(fields: &Fields, table: &TensorTable, sizes: Sizes) -> Result<ModelSpec, ImportError> {
    let Sizes { vocabulary, width, heads, layers, feed_forward, context, tied } = sizes;
    let head_size = head_size(fields, width, heads)?;
    let base = fields.float("rope.freq_base")?.unwrap_or(10_000.0);
    let base = whole_base(base)
        .ok_or_else(|| fields.refuse(format!("rope.freq_base is {base}, not a whole number")))?;
    let key_value_heads = match fields.integer("attention.head_count_kv")? {
        Some(heads) => fields.fit("attention.head_count_kv", heads)?,
        None => heads,
    };
    let has = |name: &str| table.entries().contains_key(name);
    Ok(ModelSpec {
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
        positions: PositionEncoding::Rotary { dimensions: head_size, base, interleaved: false },
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
        scaling: gguf_rope::scaling(fields, table, head_size, base)?,
    })
}

/// Returns the size of a head, which must be rotated as a whole.
fn head_size(fields: &Fields, width: u32, heads: u16) -> Result<u16, ImportError> {
    let head_size: u16 = match fields.integer("attention.key_length")? {
        Some(size) => fields.fit("attention.key_length", size)?,
        None => fields.fit("embedding_length", i128::from(width / u32::from(heads)))?,
    };
    let differs = |size: i128| size != head_size.into();
    if fields.integer("attention.value_length")?.is_some_and(differs) {
        return Err(
            fields.unsupported("values of another size than keys".into(), "take another model")
        );
    }
    if fields.integer("rope.dimension_count")?.is_some_and(differs) {
        return Err(fields.unsupported(
            "rotation of a part of each head (rope.dimension_count)".into(),
            "take another model",
        ));
    }
    if !head_size.is_multiple_of(2) {
        return Err(fields.refuse(format!(
            "heads have the odd size {head_size}, which cannot be rotated in pairs"
        )));
    }
    Ok(head_size)
}

fn special_tokens(metadata: &Metadata) -> SpecialTokens {
    let id = |key| match metadata.get(key) {
        Some(&Value::Integer(id)) => u32::try_from(id).ok(),
        _ => None,
    };
    let template = |key| match metadata.get(key) {
        Some(Value::Text(template)) => Some(template.clone()),
        _ => None,
    };
    let end = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"]
        .into_iter()
        .filter_map(id)
        .collect();
    SpecialTokens {
        begin: id("tokenizer.ggml.bos_token_id"),
        end,
        template: template("tokenizer.chat_template"),
        tool_template: template("tokenizer.chat_template.tool_use"),
        ..SpecialTokens::default()
    }
}

/// Metadata entries of an architecture. Their keys start with its name.
pub(super) struct Fields<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
    pub(super) from: &'a str,
}

impl Fields<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    pub(super) fn refuse(&self, reason: String) -> ImportError {
        ImportError::Config { from: self.from.to_owned(), reason }
    }

    pub(super) fn unsupported(&self, feature: String, advice: &'static str) -> ImportError {
        ImportError::Unsupported { from: self.from.to_owned(), feature, advice }
    }

    /// Refuses features that the decoder does not have.
    fn refuse_unsupported(&self) -> Result<(), ImportError> {
        for (key, feature) in
            [("expert_count", "experts"), ("attention.sliding_window", "a sliding window")]
        {
            if self.integer(key)?.is_some_and(|value| value != 0) {
                let feature = format!("{feature} ({}.{key})", self.architecture);
                return Err(self.unsupported(feature, "take a model without"));
            }
        }
        Ok(())
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i128>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Integer(value)) => Ok(Some(value)),
            Some(Value::Integers(_)) => Err(self.unsupported(
                format!("a different {key} in each block"),
                "take a model whose blocks are all alike",
            )),
            Some(other) => Err(self.refuse(format!("{key} is {other:?}, not a number"))),
        }
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Float(value)) => Ok(Some(value)),
            Some(other) => {
                Err(self.refuse(format!("{key} is {other:?}, not a floating-point number")))
            }
        }
    }

    pub(super) fn fit<T: TryFrom<i128> + PartialEq + From<u8>>(
        &self,
        key: &str,
        value: i128,
    ) -> Result<T, ImportError> {
        let size = T::try_from(value).ok().filter(|size| *size != T::from(0));
        size.ok_or_else(|| {
            self.refuse(format!("{key} is {value}, not a size that a model can have"))
        })
    }

    pub(super) fn size<T: TryFrom<i128> + PartialEq + From<u8>>(
        &self,
        key: &str,
    ) -> Result<T, ImportError> {
        let value = self
            .integer(key)?
            .ok_or_else(|| self.refuse(format!("it does not say {}.{key}", self.architecture)))?;
        self.fit(key, value)
    }

    pub(super) fn epsilon(&self, key: &str) -> Result<u32, ImportError> {
        let value = self
            .float(key)?
            .ok_or_else(|| self.refuse(format!("it does not say {}.{key}", self.architecture)))?;
        billionths(value)
            .ok_or_else(|| self.refuse(format!("{key} is {value}, not a multiple of a billionth")))
    }
}
