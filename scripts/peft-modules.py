"""Writes src/graph/families/familyModules.ts: the modules of transformers' models that PEFT can adapt, by model_type.

    python scripts/peft-modules.py --dump OLD.json              # in an environment with transformers 4.57
    python scripts/peft-modules.py --with OLD.json [--check]    # with transformers 5

Each class of a family is built without weights, with its default configuration and with one flag changed at a time, and
its Linear, Conv1D, convolution and embedding modules are listed. Names of releases are united, because files are
exported with all of them. --check compares with the file instead of writing it. Needs torch and transformers.
"""

import argparse
import collections
import copy
import json
import re
import sys
import warnings
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers.models.auto import modeling_auto
from transformers.pytorch_utils import Conv1D

FILE = Path(__file__).parent.parent / "src/graph/families/familyModules.ts"
LAYERS = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv1D)
# Families that PEFT has defaults for or that the sweep of bench/exports exports.
FAMILIES = """
albert apertus arcee bart beit bert biogpt blenderbot bloom camembert clip clip_text_model clip_vision_model codegen cohere
cohere2 convbert convnext ctrl deberta deberta-v2 deit dinov2 distilbert dpt electra ernie4_5 esm exaone4 falcon
falcon_mamba gemma gemma2 gemma3 gemma3_text glm gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite granitemoe helium
hubert ibert layoutlm levit lfm2 llama m2m_100 mamba marian mbart megatron-bert mistral mixtral mobilebert mobilevit
modernbert mpnet mpt mt5 nemotron nomic_bert nystromformer olmo olmo2 olmoe openai-gpt opt pegasus persimmon phi phi3
phi4_multimodal pvt qwen2 qwen2_moe qwen3 qwen3_moe rembert resnet roberta roformer rwkv seed_oss segformer
siglip_vision_model smollm3 squeezebert stablelm starcoder2 swin swinv2 t5 umt5 unispeech-sat vit wav2vec2 wavlm whisper
xglm xlm-roberta yolos
""".split()
# Values of fields that are no flags and decide which modules there are.
CHOICES = {
    "feed_forward_proj": ["relu", "gated-gelu"],
    "layer_types": ["conv", "full_attention", "sliding_attention", "linear_attention"],
    "relative_attention": [True],
    "position_embedding_type": ["rotary", "absolute", "relative_key"],
    "word_embed_proj_dim": [16],
    "num_codevector_groups": [2],
    "feat_extract_norm": ["layer", "group"],
}


# Fields without a usable default.
NEEDED = {"esm": {"vocab_size": 33}, "dpt": {"backbone_config": None, "is_hybrid": False}, "nemotron": {"num_key_value_heads": 8}}
# Modules whose weights are read without a call: PEFT refuses them, or its branch is never computed.
REFUSED = {
    "falcon_mamba": ("conv1d", "dt_proj", "out_proj"),
    "mamba": ("conv1d", "dt_proj", "out_proj"),
    "wavlm": ("k_proj", "out_proj", "q_proj", "v_proj"),
}
# Mappings to classes that are parts of models.
NO_HEADS = ("BACKBONE", "TEXT_ENCODING", "FOR_IMAGE_MAPPING", "CONFIG")
# Numbers of equal modules.
FEWER = ("num_experts", "num_local_experts")


def classes(family: str) -> list[type[nn.Module]]:
    found: dict[str, None] = {}
    for name, mapping in vars(modeling_auto).items():
        if name.endswith("MAPPING_NAMES") and not any(kind in name for kind in NO_HEADS):
            given = mapping.get(family, ())
            found.update(dict.fromkeys([given] if isinstance(given, str) else given))
    known = [getattr(transformers, name, None) for name in found]
    return [c for c in known if isinstance(c, type) and issubclass(c, transformers.PreTrainedModel)]


def configurations(family: str) -> list[transformers.PretrainedConfig]:
    usual = transformers.AutoConfig.for_model(family, **NEEDED.get(family, {}))
    for field in FEWER:
        if hasattr(usual, field):
            setattr(usual, field, 4)
    general = transformers.PretrainedConfig().to_dict()
    changed = [(k, not v) for k, v in usual.to_dict().items() if isinstance(v, bool) and k not in general]
    for field, values in CHOICES.items():
        if hasattr(usual, field):
            count = len(getattr(usual, field) or ()) if field == "layer_types" else 0
            changed += [(field, [v] * count if field == "layer_types" else v) for v in values]
    made = [usual]
    for field, value in changed:
        other = copy.deepcopy(usual)
        try:
            setattr(other, field, value)
        except Exception:  # noqa: BLE001: a property
            continue
        made.append(other)
    return made


def modules_of(cls: type[nn.Module], config: transformers.PretrainedConfig) -> tuple[set[str], str, bool]:
    """The paths of modules, the name of the body, and whether the model has one of that name."""
    with torch.device("meta"):
        model = cls(copy.deepcopy(config))
    paths = [path for path, m in model.named_modules() if isinstance(m, LAYERS)]
    numbered = {re.sub(r"(?<![^.])\d+(?![^.])", "*", path) for path in paths}
    body = getattr(model, "base_model_prefix", "")
    return numbered, body, body != "" and hasattr(model, body)


def modules_by_place(family: str) -> dict[str, set[str]] | None:
    """None for a family that this release of transformers does not have or cannot build."""
    bodies, inner, outer = set(), set(), set()
    if family not in transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES:
        return None
    built = 0
    base = modeling_auto.MODEL_MAPPING_NAMES.get(family, ())
    base = (base,) if isinstance(base, str) else base
    for cls in classes(family):
        for config in configurations(family):
            try:
                paths, body, has_body = modules_of(cls, config)
                paths = {p for p in paths if p.rpartition(".")[2] not in REFUSED.get(family, ())}
            except Exception:  # noqa: BLE001: a flag that this class does not take
                continue
            built += 1
            inside = {p[len(body) + 1 :] for p in paths if body and p.startswith(f"{body}.")}
            if inside:
                bodies.add(body)
                outer |= {p for p in paths if not p.startswith(f"{body}.")}
            elif cls.__name__ not in base and not has_body:
                bodies.add("-")
            inner |= inside or paths
    if built == 0:
        return None
    return {"bodies": bodies, "inner": inner, "outer": outer}


def compact(paths: set[str]) -> str:
    """`a.b|c d` for `a.b a.c d`."""
    names = collections.defaultdict(set)
    for path in paths:
        holder, _, name = path.rpartition(".")
        names[holder].add(name)
    parts = [f"{h}.{'|'.join(sorted(n))}" if h else " ".join(sorted(n)) for h, n in sorted(names.items())]
    return " ".join(parts)


HEAD = """/**
 * The modules of transformers' models that PEFT can adapt, by model_type. Written by scripts/peft-modules.py from
 * transformers VERSIONS.
 */

/**
 * A line has four columns: the types of one layout; the names of the body in models with a head (`-`: none); the modules
 * of the body; those beside it. `*` is a number, `|` separates last names.
 */
export const familyModules = `
"""


def text(families: dict[str, dict[str, set[str]]], versions: list[str]) -> str:
    rows: dict[str, list[str]] = collections.defaultdict(list)
    for family, places in families.items():
        # A model without a body of its own has the modules of its head beside those of the body.
        inner = places["inner"] - places["outer"]
        rows[f"{' '.join(sorted(places['bodies']))}; {compact(inner)}; {compact(places['outer'])}"].append(family)
    lines = [f"{' '.join(types)}; {row}" for row, types in rows.items()]
    return HEAD.replace("VERSIONS", " and ".join(versions)) + "\n".join(lines) + "\n`;\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--dump")
    parser.add_argument("--with", dest="other")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    found = {f: places for f in FAMILIES if (places := modules_by_place(f)) is not None}
    known = [transformers.__version__]
    if args.dump:
        listed = {f: {k: sorted(v) for k, v in places.items()} for f, places in found.items()}
        Path(args.dump).write_text(json.dumps({"version": known[0], "families": listed}))
        sys.exit()
    if args.other:
        older = json.loads(Path(args.other).read_text())
        known.insert(0, older["version"])
        for family, places in older["families"].items():
            for k, v in places.items():
                found[family][k] |= set(v)
    if missing := [f for f in FAMILIES if f not in found]:
        sys.exit(f"could not be built: {', '.join(missing)}")
    made = text(found, known)
    if args.check:
        sys.exit(0 if made == FILE.read_text() else f"{FILE} is not what transformers {' and '.join(known)} have")
    FILE.write_text(made)
