"""The models of the sweep: tiny random configurations of architectures that people export.

An entry is a function without arguments that returns a Subject. Inputs are made for two sizes: that of the export and
another one, on which the gradients are compared.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import transformers as hf
from torch import Tensor, nn

VOCAB = 100
# With WIDE=1 in the environment, the attention operators of ONNX Runtime take the heads of decoders.
WIDE = {"hidden_size": 64, "head_dim": 16}
# What configurations call the number of layers; ONE_LAYER=1 in the environment makes each of them 1.
COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")


@dataclass
class Subject:
    """A model, what it is fed, and the loss that a person would train it with."""

    model: nn.Module
    # The inputs of a batch of n rows and length s, by the names of forward's arguments.
    inputs: Callable[[int, int], dict[str, Tensor]]
    # `cross-entropy`, `causal-lm`, `segmentation` (classes on axis 1), `mse`, `bce`.
    loss: str
    # Which of the model's outputs the loss is on, and the names of all that are exported.
    output: str = "logits"
    outputs: list[str] = field(default_factory=lambda: ["logits"])
    # Axes of inputs that vary beside the batch: name -> axes.
    lengths: dict[str, list[int]] = field(default_factory=dict)
    # The loss that `auto` should choose, where it is not `loss`.
    auto: str | None = None
    # Adapts every nn.Conv2d too, which a compile does only if a target names it.
    convolutions: bool = False
    batch: bool = True
    # How far float32 gradients may be apart, as a relative norm.
    tolerance: float = 1e-4


ZOO: dict[str, Callable[[], Subject]] = {}


def ids(n: int, s: int, high: int = VOCAB) -> Tensor:
    return torch.randint(3, high, (n, s))


def text(*more: str) -> Callable[[int, int], dict[str, Tensor]]:
    def make(n: int, s: int) -> dict[str, Tensor]:
        mask = torch.ones(n, s, dtype=torch.int64)
        mask[0, s - 2 :] = 0
        batch = {"input_ids": ids(n, s), "attention_mask": mask}
        if "token_type_ids" in more:
            batch["token_type_ids"] = (torch.arange(s)[None] > s // 2).long().expand(n, s).contiguous()
        return batch

    return make


def build(model: str, config: str, options: dict[str, object]) -> nn.Module:
    one = {k: 1 for k in COUNTS if isinstance(options.get(k), int) and os.environ.get("ONE_LAYER") == "1"}
    wide = {k: v for k, v in WIDE.items() if k in options and os.environ.get("WIDE") == "1"}
    made = getattr(hf, config)(**{**options, **one, **wide, "attn_implementation": "eager"})
    made.use_cache = False
    # The grouped matrix products of mixtures of experts have no ONNX form; the loop over experts has.
    made._experts_implementation = "eager"
    torch.manual_seed(0)
    return getattr(hf, model)._from_config(made)


BERT = dict(
    vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
    max_position_embeddings=64, num_labels=5, pad_token_id=0,
)
LLAMA = dict(
    vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=48, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
SEQUENCE = {"input_ids": [1], "attention_mask": [1], "token_type_ids": [1]}


def encoder(name: str, model: str, config: str, loss: str = "cross-entropy", *more: str, outputs=None, output="logits", auto=None, **options):
    def make() -> Subject:
        inputs = text(*more)
        own = {**BERT, **options}
        return Subject(
            build(model, config, {k: v for k, v in own.items() if v is not None}), inputs, loss,
            output, outputs or ["logits"], SEQUENCE, auto,
        )

    ZOO[name] = make


def decoder(name: str, model: str, config: str, loss: str = "causal-lm", **options):
    def make() -> Subject:
        own = {**LLAMA, **options}
        return Subject(build(model, config, {k: v for k, v in own.items() if v is not None}), text(), loss, lengths=SEQUENCE)

    ZOO[name] = make


TT = "token_type_ids"
encoder("bert", "BertForSequenceClassification", "BertConfig", "cross-entropy", TT)
encoder("bert_token", "BertForTokenClassification", "BertConfig", "cross-entropy", TT)
encoder("bert_mlm", "BertForMaskedLM", "BertConfig", "cross-entropy", TT)
encoder("bert_qa", "BertForQuestionAnswering", "BertConfig", "cross-entropy", TT, outputs=["start_logits", "end_logits"], output="start_logits", num_labels=2)
encoder("bert_regression", "BertForSequenceClassification", "BertConfig", "mse", TT, num_labels=1)
encoder("bert_base", "BertModel", "BertConfig", "mse", TT, outputs=["last_hidden_state", "pooler_output"], output="last_hidden_state")
encoder("roberta", "RobertaForSequenceClassification", "RobertaConfig", pad_token_id=1)
encoder("roberta_mlm", "RobertaForMaskedLM", "RobertaConfig", pad_token_id=1)
encoder("xlm_roberta", "XLMRobertaForSequenceClassification", "XLMRobertaConfig", pad_token_id=1)
encoder("camembert", "CamembertForTokenClassification", "CamembertConfig", pad_token_id=1)
encoder("distilbert", "DistilBertForSequenceClassification", "DistilBertConfig", dim=32, hidden_dim=48, n_layers=2, n_heads=4,
        hidden_size=None, num_hidden_layers=None, num_attention_heads=None, intermediate_size=None)
encoder("distilbert_mlm", "DistilBertForMaskedLM", "DistilBertConfig", dim=32, hidden_dim=48, n_layers=2, n_heads=4,
        hidden_size=None, num_hidden_layers=None, num_attention_heads=None, intermediate_size=None)
encoder("electra", "ElectraForSequenceClassification", "ElectraConfig", "cross-entropy", TT, embedding_size=24)
encoder("albert", "AlbertForSequenceClassification", "AlbertConfig", "cross-entropy", TT, embedding_size=24)
encoder("deberta", "DebertaForSequenceClassification", "DebertaConfig", relative_attention=True, pos_att_type=["c2p", "p2c"])
encoder("deberta_v2", "DebertaV2ForSequenceClassification", "DebertaV2Config", relative_attention=True, pos_att_type=["c2p", "p2c"],
        position_buckets=16, share_att_key=True)
encoder("mpnet", "MPNetForSequenceClassification", "MPNetConfig", pad_token_id=1)
encoder("modernbert", "ModernBertForSequenceClassification", "ModernBertConfig", num_hidden_layers=3)
encoder("modernbert_mlm", "ModernBertForMaskedLM", "ModernBertConfig", num_hidden_layers=3)
encoder("esm", "EsmForSequenceClassification", "EsmConfig", pad_token_id=1, position_embedding_type="rotary", token_dropout=False)
encoder("mobilebert", "MobileBertForSequenceClassification", "MobileBertConfig", "cross-entropy", TT, embedding_size=16, intra_bottleneck_size=16)
encoder("squeezebert", "SqueezeBertForSequenceClassification", "SqueezeBertConfig", "cross-entropy", TT, embedding_size=32)
encoder("roformer", "RoFormerForSequenceClassification", "RoFormerConfig", "cross-entropy", TT, embedding_size=32)
encoder("convbert", "ConvBertForSequenceClassification", "ConvBertConfig", "cross-entropy", TT, embedding_size=32)
encoder("layoutlm", "LayoutLMForTokenClassification", "LayoutLMConfig", "cross-entropy", TT)
encoder("ibert", "IBertForSequenceClassification", "IBertConfig", pad_token_id=1)
encoder("nystromformer", "NystromformerForSequenceClassification", "NystromformerConfig", num_landmarks=8, segment_means_seq_len=8)
encoder("megatron_bert", "MegatronBertForSequenceClassification", "MegatronBertConfig", "cross-entropy", TT)
encoder("rembert", "RemBertForSequenceClassification", "RemBertConfig", "cross-entropy", TT, input_embedding_size=16, output_embedding_size=16)

GPT = dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=48, hidden_size=None, num_hidden_layers=None,
           num_attention_heads=None, num_key_value_heads=None, intermediate_size=None, max_position_embeddings=None)
decoder("gpt2", "GPT2LMHeadModel", "GPT2Config", **GPT)
decoder("gpt2_cls", "GPT2ForSequenceClassification", "GPT2Config", "cross-entropy", num_labels=5, **GPT)
decoder("gpt_neo", "GPTNeoForCausalLM", "GPTNeoConfig", num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=4,
        num_hidden_layers=None, num_attention_heads=None, num_key_value_heads=None)
decoder("gptj", "GPTJForCausalLM", "GPTJConfig", **{**GPT, "rotary_dim": 4})
decoder("gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXConfig", num_key_value_heads=None)
decoder("codegen", "CodeGenForCausalLM", "CodeGenConfig", **{**GPT, "rotary_dim": 4})
decoder("gpt_bigcode", "GPTBigCodeForCausalLM", "GPTBigCodeConfig", **GPT)
decoder("bloom", "BloomForCausalLM", "BloomConfig", n_layer=2, n_head=4, num_hidden_layers=None, num_attention_heads=None, num_key_value_heads=None)
decoder("opt", "OPTForCausalLM", "OPTConfig", ffn_dim=48, num_key_value_heads=None, intermediate_size=None, word_embed_proj_dim=32)
decoder("xglm", "XGLMForCausalLM", "XGLMConfig", d_model=32, ffn_dim=48, num_layers=2, attention_heads=4, hidden_size=None,
        num_hidden_layers=None, num_attention_heads=None, num_key_value_heads=None, intermediate_size=None)
decoder("biogpt", "BioGptForCausalLM", "BioGptConfig", num_key_value_heads=None)
decoder("ctrl", "CTRLLMHeadModel", "CTRLConfig", **{**GPT, "dff": 48, "n_inner": None})
decoder("openai_gpt", "OpenAIGPTLMHeadModel", "OpenAIGPTConfig", **{**GPT, "n_inner": None})
decoder("mpt", "MptForCausalLM", "MptConfig", d_model=32, n_heads=4, n_layers=2, expansion_ratio=2, max_seq_len=64, hidden_size=None,
        num_hidden_layers=None, num_attention_heads=None, num_key_value_heads=None, intermediate_size=None, max_position_embeddings=None)
decoder("falcon", "FalconForCausalLM", "FalconConfig", num_key_value_heads=None, intermediate_size=None)
for name, cls in {
    "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "gemma": "Gemma", "gemma2": "Gemma2", "phi": "Phi",
    "phi3": "Phi3", "stablelm": "StableLm", "starcoder2": "Starcoder2", "olmo": "Olmo", "olmo2": "Olmo2", "cohere": "Cohere",
    "granite": "Granite", "smollm3": "SmolLM3", "nemotron": "Nemotron", "persimmon": "Persimmon", "glm": "Glm", "exaone4": "Exaone4",
    "helium": "Helium", "arcee": "Arcee", "seed_oss": "SeedOss", "ernie4_5": "Ernie4_5", "mixtral": "Mixtral", "qwen2_moe": "Qwen2Moe",
    "qwen3_moe": "Qwen3Moe", "olmoe": "Olmoe", "gpt_oss": "GptOss",
}.items():
    extra: dict[str, object] = {}
    if name in ("qwen3", "gemma", "gemma2", "qwen3_moe", "glm", "exaone4", "helium", "seed_oss", "gpt_oss", "smollm3"):
        extra["head_dim"] = 8
    if name in ("mixtral", "gpt_oss"):
        extra.update(num_local_experts=4, num_experts_per_tok=2)
    if name in ("qwen2_moe", "qwen3_moe", "olmoe"):
        extra.update(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, decoder_sparse_step=1)
    if name == "qwen2_moe":
        extra.update(shared_expert_intermediate_size=24)
    config = f"{cls}Config"
    decoder(name, f"{cls}ForCausalLM", config, **extra)
decoder("llama_tied", "LlamaForCausalLM", "LlamaConfig", tie_word_embeddings=True)
decoder("llama_cls", "LlamaForSequenceClassification", "LlamaConfig", "cross-entropy", num_labels=5)
decoder("mamba", "MambaForCausalLM", "MambaConfig", state_size=8, num_attention_heads=None, num_key_value_heads=None, max_position_embeddings=None)
decoder("lfm2", "Lfm2ForCausalLM", "Lfm2Config", layer_types=["conv", "full_attention"], block_ff_dim=48)


def seq2seq(name: str, model: str, config: str, **options):
    def make() -> Subject:
        def inputs(n: int, s: int) -> dict[str, Tensor]:
            mask = torch.ones(n, s, dtype=torch.int64)
            mask[0, s - 2 :] = 0
            return {"input_ids": ids(n, s), "attention_mask": mask, "decoder_input_ids": ids(n, s - 2)}

        own = dict(vocab_size=VOCAB, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=0, **options)
        lengths = {"input_ids": [1], "attention_mask": [1], "decoder_input_ids": [1]}
        return Subject(build(model, config, own), inputs, "cross-entropy", "logits", ["logits"], lengths)

    ZOO[name] = make


BART = dict(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64)
T5 = dict(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=2, num_heads=4, relative_attention_num_buckets=8)
for name, cls in {"bart": "Bart", "mbart": "MBart", "pegasus": "Pegasus", "m2m_100": "M2M100", "blenderbot": "Blenderbot"}.items():
    seq2seq(name, f"{cls}ForConditionalGeneration", f"{cls}Config", **BART)
seq2seq("marian", "MarianMTModel", "MarianConfig", **BART)
seq2seq("t5", "T5ForConditionalGeneration", "T5Config", **T5)
seq2seq("t5_gated", "T5ForConditionalGeneration", "T5Config", **T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
seq2seq("mt5", "MT5ForConditionalGeneration", "MT5Config", **T5)
seq2seq("umt5", "UMT5ForConditionalGeneration", "UMT5Config", **T5)


def vision(name: str, model: str, config: str, loss: str = "cross-entropy", size: int = 32, outputs=None, output="logits", auto=None, **options):
    def make() -> Subject:
        inputs = lambda n, s: {"pixel_values": torch.randn(n, 3, size, size)}
        return Subject(build(model, config, options), inputs, loss, output, outputs or ["logits"], {}, auto)

    ZOO[name] = make


VIT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=32, patch_size=8, num_labels=5)
vision("vit", "ViTForImageClassification", "ViTConfig", **VIT)
vision("deit", "DeiTForImageClassification", "DeiTConfig", **VIT)
vision("beit", "BeitForImageClassification", "BeitConfig", **VIT, use_relative_position_bias=True)
vision("dinov2", "Dinov2ForImageClassification", "Dinov2Config", **{k: v for k, v in VIT.items() if k != "intermediate_size"}, mlp_ratio=2)
vision("swin", "SwinForImageClassification", "SwinConfig", image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=5)
vision("swinv2", "Swinv2ForImageClassification", "Swinv2Config", image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=5)
vision("convnext", "ConvNextForImageClassification", "ConvNextConfig", depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], num_labels=5)
vision("mobilevit", "MobileViTForImageClassification", "MobileViTConfig", size=64, image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
       num_attention_heads=2, num_labels=5)
vision("levit", "LevitForImageClassification", "LevitConfig", size=64, image_size=64, hidden_sizes=[16, 24, 32], num_attention_heads=[2, 2, 4], depths=[1, 1, 1], key_dim=[8, 8, 8], num_labels=5)
vision("pvt", "PvtForImageClassification", "PvtConfig", size=64, image_size=64, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], num_labels=5)
vision("segformer", "SegformerForSemanticSegmentation", "SegformerConfig", "segmentation", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
       num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16, num_labels=5)
vision("segformer_cls", "SegformerForImageClassification", "SegformerConfig", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], num_labels=5)
vision("dpt", "DPTForDepthEstimation", "DPTConfig", "mse", outputs=["predicted_depth"], output="predicted_depth", **{k: v for k, v in VIT.items() if k != "num_labels"},
       out_indices=[0, 1, 1, 2], backbone_out_indices=[0, 1, 1, 2], neck_hidden_sizes=[8, 8, 16], fusion_hidden_size=16, is_hybrid=False)
vision("yolos", "YolosForObjectDetection", "YolosConfig", outputs=["logits", "pred_boxes"], hidden_size=32, num_hidden_layers=2,
       num_attention_heads=4, intermediate_size=48, image_size=[32, 32], patch_size=8, num_detection_tokens=5, num_labels=5)
vision("siglip_vision", "SiglipVisionModel", "SiglipVisionConfig", "mse", outputs=["last_hidden_state", "pooler_output"], output="pooler_output", **{k: v for k, v in VIT.items() if k != "num_labels"})
vision("clip_vision", "CLIPVisionModelWithProjection", "CLIPVisionConfig", "mse", outputs=["image_embeds", "last_hidden_state"], output="image_embeds",
       projection_dim=16, **{k: v for k, v in VIT.items() if k != "num_labels"})


def clip_text() -> Subject:
    own = dict(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=64,
               projection_dim=16, eos_token_id=2, bos_token_id=1, pad_token_id=0)
    return Subject(build("CLIPTextModelWithProjection", "CLIPTextConfig", own), text(), "mse", "text_embeds", ["text_embeds", "last_hidden_state"], SEQUENCE)


ZOO["clip_text"] = clip_text


def speech(name: str, model: str, config: str, loss: str, **options):
    def make() -> Subject:
        own = dict(vocab_size=20, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, num_conv_pos_embeddings=8,
                   num_conv_pos_embedding_groups=2, conv_dim=[16, 16], conv_kernel=[10, 4], conv_stride=[5, 4], num_labels=5, classifier_proj_size=16, pad_token_id=0, **options)
        return Subject(build(model, config, own), lambda n, s: {"input_values": torch.randn(n, 40 * s)}, loss, lengths={"input_values": [1]})

    ZOO[name] = make


speech("wav2vec2", "Wav2Vec2ForSequenceClassification", "Wav2Vec2Config", "cross-entropy")
speech("wav2vec2_ctc", "Wav2Vec2ForCTC", "Wav2Vec2Config", "cross-entropy")
speech("hubert", "HubertForSequenceClassification", "HubertConfig", "cross-entropy")
speech("wavlm", "WavLMForSequenceClassification", "WavLMConfig", "cross-entropy")


def whisper() -> Subject:
    own = dict(vocab_size=VOCAB, num_mel_bins=8, max_source_positions=20, max_target_positions=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
               decoder_start_token_id=1, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
               encoder_ffn_dim=48, decoder_ffn_dim=48, suppress_tokens=[], begin_suppress_tokens=[])
    inputs = lambda n, s: {"input_features": torch.randn(n, 8, 40), "decoder_input_ids": ids(n, s)}
    return Subject(build("WhisperForConditionalGeneration", "WhisperConfig", own), inputs, "cross-entropy", lengths={"decoder_input_ids": [1]})


ZOO["whisper"] = whisper


def patchtst() -> Subject:
    own = dict(num_input_channels=3, context_length=24, prediction_length=6, patch_length=6, patch_stride=6, d_model=16, ffn_dim=32,
               num_hidden_layers=2, num_attention_heads=2, do_mask_input=False, random_mask_ratio=0.0)
    return Subject(build("PatchTSTForPrediction", "PatchTSTConfig", own), lambda n, s: {"past_values": torch.randn(n, 24, 3)}, "mse",
                   "prediction_outputs", ["prediction_outputs"], {})


ZOO["patchtst"] = patchtst


def patchtsmixer() -> Subject:
    own = dict(num_input_channels=3, context_length=24, prediction_length=6, patch_length=6, patch_stride=6, d_model=16, num_layers=2)
    return Subject(build("PatchTSMixerForPrediction", "PatchTSMixerConfig", own), lambda n, s: {"past_values": torch.randn(n, 24, 3)}, "mse",
                   "prediction_outputs", ["prediction_outputs"], {})


ZOO["patchtsmixer"] = patchtsmixer


class Recurrent(nn.Module):
    """A recurrent tagger or classifier as PyTorch's tutorials write it."""

    def __init__(self, kind: str, batch_first: bool) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(4, 8, batch_first=batch_first, bidirectional=True)
        self.hidden, self.head, self.first = nn.Linear(16, 12), nn.Linear(12, 3), batch_first

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        last = y[:, -1] if self.first else y[-1]
        return self.head(torch.tanh(self.hidden(last)))


for kind in ("LSTM", "GRU"):
    ZOO[f"torch_{kind.lower()}"] = lambda kind=kind: Subject(
        Recurrent(kind, True), lambda n, s: {"x": torch.randn(n, s, 4)}, "cross-entropy", lengths={"x": [1]})


class Shared(nn.Module):
    """One block applied several times, as universal transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(40, 64), nn.GELU(), nn.Linear(64, 40))
        self.norm, self.head = nn.LayerNorm(40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.norm(x + self.inner(x))
        return self.head(x)


ZOO["torch_shared"] = lambda: Subject(Shared(), lambda n, s: {"x": torch.randn(n, 40)}, "cross-entropy")


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


ZOO["torch_transformer_encoder"] = lambda: Subject(Encoder(), lambda n, s: {"x": torch.randn(n, s, 16)}, "cross-entropy", lengths={"x": [1]})


def timm_model(name: str, model: str, size: int = 32, **options) -> None:
    def make() -> Subject:
        import timm

        return Subject(timm.create_model(model, num_classes=5, **options), lambda n, s: {"x": torch.randn(n, 3, size, size)}, "cross-entropy")

    ZOO[f"timm_{name}"] = make


TINY = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
timm_model("vit", "vit_tiny_patch16_224", **TINY)
timm_model("deit_dist", "deit_tiny_distilled_patch16_224", **TINY)
timm_model("beit", "beit_base_patch16_224", **TINY)
timm_model("cait", "cait_xxs24_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
timm_model("swin", "swin_tiny_patch4_window7_224", img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4))
timm_model("swinv2_cr", "swinv2_cr_tiny_224", img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4))
timm_model("pit", "pit_ti_224", size=64, img_size=64, patch_size=8, stride=4, base_dims=[8, 8, 8], depth=[1, 1, 1], heads=[1, 2, 2])
timm_model("mambaout", "mambaout_femto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
timm_model("edgenext", "edgenext_xx_small", size=64, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), heads=(2, 2, 2, 2))
timm_model("levit", "levit_128s", size=64, img_size=64, embed_dim=(16, 24, 32), num_heads=(2, 2, 4), depth=(1, 1, 1), key_dim=8)
timm_model("convnext", "convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
timm_model("pvt_v2", "pvt_v2_b0", depths=(1, 1, 1, 1), embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 2, 4))
timm_model("xcit", "xcit_nano_12_p16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
timm_model("eva02", "eva02_tiny_patch14_224", **TINY)


def timm_mixer(name: str, block: str) -> None:
    def make() -> Subject:
        from timm.models import mlp_mixer

        model = mlp_mixer.MlpMixer(5, 32, patch_size=8, num_blocks=2, embed_dim=24, block_layer=getattr(mlp_mixer, block))
        return Subject(model, lambda n, s: {"x": torch.randn(n, 3, 32, 32)}, "cross-entropy")

    ZOO[f"timm_{name}"] = make


timm_mixer("mixer", "MixerBlock")
timm_mixer("gmlp", "SpatialGatingBlock")
timm_mixer("resmlp", "ResBlock")


def vision_model(name: str, make_model: Callable[[], nn.Module], size: int = 32) -> None:
    ZOO[f"tv_{name}"] = lambda: Subject(make_model(), lambda n, s: {"x": torch.randn(n, 3, size, size)}, "cross-entropy")


def tv_swin(version: str) -> nn.Module:
    from torchvision.models import swin_transformer as swin

    block = swin.SwinTransformerBlock if version == "" else swin.SwinTransformerBlockV2
    merging = swin.PatchMerging if version == "" else swin.PatchMergingV2
    return swin.SwinTransformer([2, 2], 16, [2, 2], [2, 4], [4, 4], num_classes=5, block=block, downsample_layer=merging)


def tv_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 1)], num_classes=5)


def tv_maxvit() -> nn.Module:
    from torchvision.models.maxvit import MaxVit

    return MaxVit((64, 64), 8, 2, [16, 32], [1, 1], 8, 0.0, num_classes=5)


def tv_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=5)


vision_model("swin", lambda: tv_swin(""))
vision_model("swin_v2", lambda: tv_swin("2"))
vision_model("convnext", tv_convnext, 64)
vision_model("maxvit", tv_maxvit, 64)
vision_model("vit", tv_vit)
