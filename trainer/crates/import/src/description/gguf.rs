// SPDX-License-Identifier: Apache-2.0

//! Metadata of a GGUF file.

use super::{
    ModelDescription, SpecialTokens,
    gguf_families::{self, Sizes},
    gguf_fields::Fields,
    unknown_architecture,
};
use crate::{
    ImportError,
    files::{
        TensorEntry, TensorTable,
        gguf::{Metadata, Value},
    },
};
use pol_primitives::model::Experts;

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
    let Some((tensor_map, family)) = gguf_families::find(architecture, table) else {
        let feature = unknown_architecture(architecture);
        return Err(fields.unsupported(feature, gguf_families::ADVICE.as_str()));
    };
    let experts = experts(&fields)?;
    let feed_forward = match architecture.as_str() {
        "qwen3moe" => "expert_feed_forward_length",
        _ => "feed_forward_length",
    };
    let embedding = embedding(&fields, table)?;
    let sizes = Sizes {
        vocabulary: vocabulary(&fields, embedding)?,
        width: fields.size("embedding_length")?,
        heads: fields.size("attention.head_count")?,
        layers: fields.size("block_count")?,
        feed_forward: fields.size(feed_forward)?,
        context: fields.size("context_length")?,
        tied: is_tied(table, embedding, from)?,
        experts,
    };
    let stated_context = sizes.context;
    let (spec, factors) = family.spec(&fields, table, sizes)?;
    let special = special_tokens(metadata);
    Ok(ModelDescription { spec, tensor_map, factors, special, stated_context })
}

/// Returns the experts of a family whose weights of chosen ones add up to 1.
fn experts(fields: &Fields) -> Result<Option<Experts>, ImportError> {
    let Some(count) = fields.integer("expert_count")?.filter(|&count| count != 0) else {
        return Ok(None);
    };
    if !["llama", "qwen3moe"].contains(&fields.architecture) {
        let feature = format!("experts ({}.expert_count)", fields.architecture);
        return Err(fields.unsupported(feature, "take a model without"));
    }
    let experts =
        Experts::new(fields.fit("expert_count", count)?, fields.size("expert_used_count")?);
    Ok(Some(experts))
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
    if output.encoding != embedding.encoding {
        return Ok(false);
    }
    table
        .have_same_values(output, embedding)
        .map_err(|source| ImportError::File { path: from.into(), source })
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
