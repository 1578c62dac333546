"""Names the sampling options of other text servers that bookserve does not have, and their values that change nothing.

Clients of llama.cpp, vLLM, TensorRT-LLM and others send such options beside the common ones. One whose value would
change the text is refused by name, since the client would otherwise get another text than it asked for.
Sources: the documentation of these servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: By name, the values with which an option changes nothing, besides null. Empty: any value changes something.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    # Penalties
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (0, 1),  # TensorRT-LLM's clients send 0 for "none"
    "repeat_penalty": (1,),
    "length_penalty": (0, 1),
    "no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "dry_multiplier": (0,),
    "penalty_alpha": (0,),
    # Which characters may be drawn
    "min_p": (0,),
    "typical_p": (0, 1),
    "typical": (0, 1),
    "top_a": (0,),
    "tfs": (1,),
    "tfs_z": (1,),
    "top_n_sigma": (0, -1),
    "xtc_probability": (0,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "dynatemp_range": (0,),
    "dynamic_temperature": (False,),
    "smoothing_factor": (0,),
    "mirostat": (0,),
    "mirostat_mode": (0,),
    "samplers": ([], ""),
    "logit_bias": ({}, []),
    "logits_processors": ([],),
    "bad_words": ("", []),
    "bad_words_ids": ([],),
    "allowed_token_ids": ([],),
    "cfg_scale": (1,),
    "guidance_scale": (1,),
    # How the text ends
    "min_tokens": (0,),
    "min_length": (0,),
    "stop_token_ids": ([],),
    "include_stop_str_in_output": (False,),
    "early_stopping": (False,),
    # How it is searched for
    "use_beam_search": (False,),
    "num_beams": (0, 1),
    "beam_width": (0, 1),
    # What it must look like
    "grammar": ("",),
    "json_schema": ({},),
    "guided_json": (),
    "guided_regex": ("",),
    "guided_choice": ([],),
    "guided_grammar": ("",),
    "structured_outputs": ({},),
    "response_format": ({"type": "text"},),
    # What it is continued from
    "suffix": ("",),
    "input_prefix": ("",),
    "input_suffix": ("",),
    "truncate_prompt_tokens": (),
    "prompt_embeds": (),
    "image_data": ([],),
    "lora": ([],),
}


#: The least length of a text. The models know no end of a text, so only a stop string could end it earlier.
_LEAST_LENGTHS = ("min_tokens", "min_length")


def unsupported_option(given: Mapping[str, Any]) -> str:
    """The name of the first option that would change the text and is not supported; '' if there is none."""
    stops = given.get("stop") or given.get("stop_words")
    for name, value in given.items():
        if name in _LEAST_LENGTHS and not stops:
            continue
        if value is not None and name in NEUTRAL and not any(value == neutral for neutral in NEUTRAL[name]):
            return name
    return ""
