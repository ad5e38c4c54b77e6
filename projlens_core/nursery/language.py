"""The nursery's language model: a Llama of a million parameters that reads and writes whole words."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from projlens_core.demo_model.language import CHAT_TEMPLATE, IMAGE_TOKEN
from projlens_core.nursery.words import DIGITS, LETTERS, PUNCTUATION, vocabulary

WIDTH, LAYERS = 128, 4
PAD, UNKNOWN, TURN, END = "<|endoftext|>", "<|unknown|>", "<|im_start|>", "<|im_end|>"
CLOSING = ".,!?:;%"  # punctuation that follows a word without a space
SPECIAL = (PAD, UNKNOWN, TURN, END)


def tokens() -> tuple[str, ...]:
    """The vocabulary in the order of ids. The image token comes last, where the zoo's training looks for it."""
    pieces: dict[str, None] = dict.fromkeys(SPECIAL)
    pieces.update(dict.fromkeys(PUNCTUATION))
    characters = LETTERS + DIGITS
    pieces.update(dict.fromkeys((*characters, *(f"##{c}" for c in characters))))  # what is no word is spelled
    pieces.update(dict.fromkeys(vocabulary()))
    return (*pieces, IMAGE_TOKEN)


def tokenizer() -> PreTrainedTokenizerFast:
    """Lower-case whole words; a word it does not know is spelled, a number is its digits."""
    ids = {token: i for i, token in enumerate(tokens())}
    inner = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN, max_input_chars_per_word=100))
    inner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Split(Regex(r"[^\w\s]"), "isolated"),
        ]
    )
    inner.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix="##", cleanup=False), *(decoders.Replace(f" {mark}", mark) for mark in CLOSING)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=TURN,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[IMAGE_TOKEN],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = CHAT_TEMPLATE
    return made


def config() -> LlamaConfig:
    """Four layers of width 128, embeddings tied."""
    known = tokens()
    return LlamaConfig(
        vocab_size=len(known),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=known.index(TURN),
        eos_token_id=known.index(END),
        pad_token_id=known.index(PAD),
        rope_theta=10_000.0,  # type: ignore[call-arg]  # which the library takes among the other settings
        initializer_range=0.05,
    )
