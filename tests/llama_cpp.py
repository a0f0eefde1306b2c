"""llama.cpp, through the wheel `xllamacpp`, for the tests and for measurements."""

import math

import xllamacpp


class LlamaCpp:
    """A GGUF file in llama.cpp, on one thread of the processor.

    is_single: keep keys and values in single precision, instead of half, and compute attention with them so.
    """

    def __init__(self, path, is_single=True):
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 0, 1, False, -1
        params.n_gpu_layers, params.cpuparams.n_threads, params.fit_params = 0, 1, False
        if is_single:
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(params)

    def complete(self, prompt, **settings):
        """The answer to a prompt, a text or a list of ids."""
        answer = self.server.handle_completions({"prompt": prompt, "cache_prompt": False, **settings})
        if "error" in answer:
            raise ValueError(answer["error"]["message"])
        return answer

    def greedy(self, prompt, n):
        """At most n tokens that follow, the most likely each, as text."""
        return self.complete(prompt, n_predict=n, temperature=0)["choices"][0]["text"]

    def log_probabilities(self, prompt, vocab_size, forced):
        """Natural log-probability of each id after a prompt."""
        last = {"logit_bias": [[forced, 1000.0]]}  # those of probabilities are taken before
        answer = self.complete(prompt, n_predict=1, temperature=1.0, n_probs=vocab_size, **last)
        (first,) = answer["choices"][0]["logprobs"]["content"]
        found = {one["id"]: one["logprob"] for one in first["top_logprobs"]}
        return [found.get(token, math.nan) for token in range(vocab_size)]

    def tokens(self, prompt):
        """How many tokens a prompt has, BOS included."""
        return self.complete(prompt, n_predict=1)["usage"]["prompt_tokens"]
