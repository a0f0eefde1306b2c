"""Generate texts from a model's logits.

The settings of SampleConfig apply to the logits of each token in this order, which is that of the tables
PENALTIES and FILTERS in generation/filters.py. For a filter that an engine does not implement, generation
runs token by token with the functions of that module:

1. repetition_penalty: lowers the logits of tokens already in the text, including the prefix;
2. the masks: remove tokens that may not come next and renormalize the rest. Masked are characters excluded by
   `allow` and `forbid`, the end token before min_new_tokens and min_length, and the last token of `stop`
   where it would end the text before these;
3. temperature; at 0 the most likely remaining token is taken and no further step applies;
4. top_k;
5. top_p, of the distribution after top_k;
6. min_p;
7. typical_p, of the remaining distribution;
8. the draw.

A text ends at the end token, at the text `stop` (which is removed), or at its maximum length: the smallest of
max_new_tokens, max_length and, without max_new_tokens, the remaining length of the block. A text that ends
because the block is full is called cut; `on_cut` keeps, marks or redraws such texts. Beyond the block the
context slides (generate.py). Masks enforce all of this exactly. Conditions on whole texts (`suffix`, unique,
novel, not cut) are enforced by rejection, with up to `tries` attempts in a row (collect.py).

    generation/request.py    settings -> token ids; rejects settings that no text can satisfy
    generation/filters.py    logits -> probabilities -> id
    generation/starts.py     the tokenizations that a text with a prefix can begin with
    generation/text_rules.py `stop` and lengths for tokens that are not characters
    starts.py                the choice among these by the model's probabilities
    context.py               the sliding context window
    texts.py                 ids -> texts, marked if they are cut
    generate.py              request -> ids -> texts, on any engine
    beam.py                  request -> the highest-scoring texts, by beam search
    conditions.py            conditions on whole texts
    collect.py               n texts that satisfy the conditions, in groups
    training_texts.py        the training texts, to reject copies of them
"""
