#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes small tokenizers as GGUF, with the `gguf` package of llama.cpp, and the tokens that others cut texts into.

usage: PYTHON scripts/reference/tokenizer_fixtures.py trainer/crates/import/tests/fixtures/tokenizers

PYTHON is that of setup.sh with: pip install gguf==0.19.0 sentencepiece==0.2.3 protobuf tokenizers==0.23.3

llama           a LLaMA 2 as transformers has it, with a vocabulary that SentencePiece trained, and what transformers writes
                with it after some texts
llama.gguf      the same, model and vocabulary, as llama.cpp's converter writes them
plain.gguf      the same without a model, for texts that begin without a space
gemma.gguf      another with runs of spaces, line ends, and a tag that are defined by the user, written as that of Gemma
pairs.gguf      a vocabulary of byte pairs, whose merges cross all words; the tests name the family
expected.json   texts, and the tokens that SentencePiece, transformers' conversion of its vocabularies, and the pipelines
                of families cut them into
"""

import io
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, CohereTokenizer, GPTNeoXTokenizer, LlamaConfig, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import LlamaConverter, SentencePieceExtractor
from transformers.integrations.gguf import gguf_tokenizer_mapping
from transformers.models.qwen3_5.tokenization_qwen3_5 import Qwen3_5Tokenizer

from gguf_llama import add_sizes, add_tensors, finish

SPACE = "\u2581"
CORPUS = """The quick brown fox jumps over the lazy dog, and the dog can't see the other fox's den.
  There are 1234 reasons why they're here; I'll tell you 56 of them, she said. WE'LL SEE, THEY'D SAY.
    def main(args):\n\t\treturn [x ** 2 for x in range(10)]  # a comment\n\n\n\nif x == 1000000: print("done!!!")
Überall grüßen schöne Mädchen. Le café était fermé à Noël. El niño comió piñas mañana.
Привет, мир! Это проверка текста. Γειά σου Κόσμε. مرحبا بالعالم. שלום עולם. नमस्ते दुनिया.
東京は日本の首都です。今日は天気がいい。北京是中国的首都，有很多人。안녕하세요 세계.
In 1999, 3.14159 was 22/7; on 2024-05-17 at 10:30 it cost $99.99 (or 100%). HTTPServer getElementById iPhone
The thing is that the string of strings in the ring is nothing in the spring. aaaaaaaa ======== -------- ........
""" * 4
TEXTS = [
    "", " ", "  ", "   ", "     ", "        ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", "\t\n \t", "\r\n", "a", " a", "  a", "a ", "a  ",
    "Hello world", " Hello  world ", "The quick brown fox can't jump, they're lazy. WE'LL see; I'd SAY'S",
    "def f(x):\n\t\treturn x ** 2  # 1234567\n\n    pass\n", "3.14159 33 333 3333 33333 1000000", "٣٤٥ ½ Ⅻ ² १२",
    "Überall schön: café, naïve, niño", "cafe\u0301 A\u030a n\u0303 o\u0302\u0301 \u1112\u1161\u11ab", "Привет, мир! Γειά σου Κόσμε",
    "東京は日本の首都です。今日は2024年5月、北京。한국어 안녕", "مرحبا بالعالم שלום नमस्ते ภาษาไทย",
    "\U0001f642 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea ❤\ufe0f", "\x00\x01\x1b[0m\x7f\u0085\ufeff\u200b\u2028x\u2029",
    "no\u00a0break\u3000wide \u2009thin", "<s>Hello</s> <unk> <|im_end|>", "<think>so</think> <think>  so", "<0x0A><0x41> [PAD1]",
    f"{SPACE}a {SPACE}{SPACE} b{SPACE}", "<table> <|user|>x", "!!!... --- === $5+5=10 ^~|`a`@b#c",
    "getElementById HTTPServer iPhoneX ÉCOLEs ǅungla", "a" * 17 + "=" * 13, "xyz\n \n  \n\n \t end   ", "“quoted” ‘so’ … — 　，！？",
    "#include <the.h> (foo) [bar]_baz 2x 東京abc12345カタ", "a horse, a\u00a0fox\u3000dog ﬁne ᾳ Ⓐ １２３",
]


def trained(**options):
    """The description of a vocabulary that SentencePiece trains as LLaMA's was."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.split("\n")), model_writer=model, model_type="bpe", byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        character_coverage=1.0, hard_vocab_limit=False, num_threads=1, minloglevel=2, **options,
    )
    description = sentencepiece_model_pb2.ModelProto()
    description.ParseFromString(model.getvalue())
    return description


def processor(description):
    return sentencepiece.SentencePieceProcessor(model_proto=description.SerializeToString())


def converted(description, added, size):
    """Tokens, scores, and types of a vocabulary, as llama.cpp's converter has them."""
    pieces, kinds = processor(description), gguf.TokenType
    tokens, scores, types = ([f"[PAD{i}]" for i in range(size)], [-10000.0] * size, [kinds.UNUSED] * size)
    for i in range(pieces.vocab_size()):
        tokens[i], scores[i], types[i] = pieces.id_to_piece(i), pieces.get_score(i), kinds.NORMAL
        for is_so, kind in ((pieces.is_unknown, kinds.UNKNOWN), (pieces.is_control, kinds.CONTROL), (pieces.is_byte, kinds.BYTE)):
            types[i] = kind if is_so(i) else types[i]
    for i, (token, special) in added.items():
        tokens[i] = token if special else token.replace(SPACE, " ")
        scores[i], types[i] = -1000.0, kinds.CONTROL if special else kinds.USER_DEFINED
    return tokens, scores, types


# Texts to go on with.
PROMPTS = ["The quick brown fox", " Hello  world\n", "東京 🙂 \x00", "def main(x):\n\t", "</s> <think>so"]


def checkpoint(folder, size):
    """Writes a small LLaMA 2 in half precision, as transformers does."""
    config = LlamaConfig(
        vocab_size=size, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(noise if parameter.dim() == 2 else 1 + 0.2 * noise)
    model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")


def written(folder, tokenizer):
    """What transformers writes after the prompts, taking the likeliest token each time."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    found = []
    for prompt in PROMPTS:
        tokens, prompted = tokenizer.encode(prompt).ids, len(tokenizer.encode(prompt).ids)
        while len(tokens) < prompted + 24 and tokens[-1] != 2:
            with torch.no_grad():
                best = model(torch.tensor([tokens])).logits[0, -1].topk(2)
            # No other arithmetic may take another token.
            assert best.values[0] - best.values[1] > 1e-3, (prompt, best)
            tokens.append(best.indices[0].item())
        new = tokens[prompted:]
        text = tokenizer.decode(new, skip_special_tokens=True)
        found.append({"prompt": prompt, "prompt_tokens": tokens[:prompted], "tokens": new, "text": text})
    return found


def whole_model(folder, tokenizer, size):
    """Writes the folder of a LLaMA 2 with this tokenizer, and returns the model."""
    config, tensors = checkpoint(folder, size)
    begins = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    tokenizer.post_processor = begins
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=2) + "\n")
    (folder / "written.json").write_text(json.dumps(written(folder, tokenizer), indent=1) + "\n")
    return config, tensors


def write_pieces(path, architecture, vocabulary, prefix, model=None):
    tokens, scores, types = vocabulary
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    if not prefix:
        writer.add_add_space_prefix(False)
    if model:
        config, tensors = model
        add_sizes(writer, config, states_head_size=False)
        add_tensors(writer, config, {name: tensor.numpy() for name, tensor in tensors.items()})
    finish(writer)


def cut(tokenizer):
    """Tokens of all texts in which special tokens are parsed, and their text."""
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return {"tokens": ids, "texts": [tokenizer.decode(tokens, skip_special_tokens=False) for tokens in ids]}


def llama(folder):
    description = trained(vocab_size=520)
    size = len(description.pieces)
    added = {size: ("<|im_end|>", True), size + 1: ("<think>", False), size + 2: ("</think>", False)}
    vocabulary = converted(description, added, size + 6)
    expected = {}
    for name, prefix in (("llama", True), ("plain", False)):
        description.normalizer_spec.add_dummy_prefix = prefix
        pieces = processor(description)
        with tempfile.NamedTemporaryFile() as file:
            file.write(description.SerializeToString())
            file.flush()
            tokenizer = conversion(file.name, prefix)
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=special) for token, special in added.values()])
        expected[name] = {"sentencepiece": [pieces.encode(text) for text in TEXTS], "transformers": cut(tokenizer)}
        model = whole_model(folder / name, tokenizer, size + 6) if prefix else None
        write_pieces(folder / f"{name}.gguf", "llama", vocabulary, prefix, model)
    return expected


def conversion(path, prefix):
    """What transformers makes of the description of a LLaMA's vocabulary: the pipeline of its tokenizer.json."""
    vocabulary = SentencePieceExtractor(path).extract(models.BPE)
    slow = SimpleNamespace(vocab_file=path, legacy=True, add_prefix_space=prefix)
    converter = LlamaConverter(slow)
    model = models.BPE(vocabulary["vocab"], vocabulary["merges"], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = converter.normalizer(converter.proto)
    tokenizer.decoder = converter.decoder(SPACE, prefix)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ("<unk>", "<s>", "</s>")])
    return tokenizer


def gemma(folder):
    defined = [*(SPACE * count for count in range(2, 9)), "\n", "\n\n", "\n\n\n", "<table>"]
    description = trained(vocab_size=540, user_defined_symbols=defined, add_dummy_prefix=False)
    # As in Gemma's vocabulary: tabs are bytes, and pieces of tabs are not.
    for piece in description.pieces:
        if piece.piece == "\t":
            piece.piece = "\u2603"
    types = sentencepiece_model_pb2.ModelProto.SentencePiece
    added = {i: (piece.piece, False) for i, piece in enumerate(description.pieces) if piece.type == types.USER_DEFINED}
    vocabulary = converted(description, added, len(description.pieces))
    assert "\t\t" in vocabulary[0]
    write_pieces(folder / "gemma.gguf", "gemma2", vocabulary, False)
    pieces = processor(description)
    metadata = {"tokenizer_type": "llama", **dict(zip(("tokens", "scores", "token_type"), vocabulary))}
    tokenizer, _ = gguf_tokenizer_mapping.convert_gguf_tokenizer("gemma2", metadata)
    return {"gemma": {"sentencepiece": [pieces.encode(text) for text in TEXTS], "transformers": cut(tokenizer)}}


def split(regex):
    return pre_tokenizers.Split(Regex(regex), "isolated")


def words(digits):
    return split(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


# Letters with a case, as the file of DeepSeek LLM lists them.
CASED = (
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f"
    "\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd"
    "\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d"
    "\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134"
    "\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943"
)
IDEOGRAPHS = split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")


def pipelines():
    """Pre-tokenizers of families by their name in GGUF, as their own tokenizer.json has them."""
    byte_level, digits = pre_tokenizers.ByteLevel, pre_tokenizers.Digits
    rest = byte_level(add_prefix_space=False, use_regex=False)
    contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    cased = gguf_tokenizer_mapping._TEKKEN_SPLIT, gguf_tokenizer_mapping._GPT4O_SPLIT
    assert contraction in cased[1]
    return {
        "gpt-2": [byte_level(add_prefix_space=False)],
        "smollm": [digits(individual_digits=True), byte_level(add_prefix_space=False)],
        "falcon": [
            pre_tokenizers.Punctuation("contiguous"), byte_level(add_prefix_space=False), digits(individual_digits=False),
            split("[0-9][0-9][0-9]"),
        ],
        "llama-bpe": [words("{1,3}"), rest],
        "dbrx": [words("{1,3}"), rest],
        "tekken": [split(cased[0]), rest],
        "gpt-4o": [split(cased[1]), rest],
        "deepseek-llm": [
            split("[\r\n]"), split(rf"\s?[{CASED}]+"),
            split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"), split(r"\s+$"), IDEOGRAPHS,
            digits(individual_digits=True), rest,
        ],
        "deepseek-coder": [
            split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), IDEOGRAPHS, digits(individual_digits=True), rest,
        ],
        "deepseek-v3": [
            split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
            split(
                "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
            ),
            rest,
        ],
    }


# Classes of transformers that have a pipeline of their own.
CLASSES = {"mpt": GPTNeoXTokenizer, "command-r": CohereTokenizer, "qwen2": Qwen2Tokenizer, "qwen35": Qwen3_5Tokenizer}
WHOLE_WORDS = ("llama-bpe", "tekken")


def pairs(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=12,
                                  special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS.splitlines(keepends=True) + [CORPUS], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(merge) for merge in model["merges"]]
    # A word that no merges make, which some families take whole.
    vocab["Ġhorse"] = len(vocab)
    tokens = sorted(vocab, key=vocab.get)
    writer = gguf.GGUFWriter(folder / "pairs.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    finish(writer)
    expected = {}
    for name, steps in pipelines().items():
        tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=name in WHOLE_WORDS))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        expected[name] = [tokenizer.encode(text).ids for text in TEXTS]
    for name, kind in CLASSES.items():
        tokenizer = kind(vocab=vocab, merges=merges).backend_tokenizer
        assert isinstance(tokenizer.normalizer, normalizers.NFC)
        tokenizer.encode_special_tokens = True
        expected[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return expected


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    expected = {"texts": TEXTS, "pieces": {**llama(folder), **gemma(folder)}, "pairs": pairs(folder)}
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


main()
