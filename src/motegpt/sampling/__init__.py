"""From the model's logits to texts. The one place where temperature exists.

The settings of SampleConfig act on the logits of each token in this order, which is that of the tables
PENALTIES and FILTERS in filters.py. An engine that does not know a filter draws token by token with it:

1. repetition_penalty: lowers the logits of tokens that the text already has, the prefix included;
2. the masks: tokens that may not come next are removed, and the rest share their probability. These are
   characters that `allow` and `forbid` rule out, the end before min_new_tokens and min_length, and the
   last token of `stop` where it would end the text before these;
3. temperature; at 0 the most likely remaining token is taken, and no further step applies;
4. top_k;
5. top_p, of the probability that top_k has left;
6. min_p;
7. typical_p, of the probability that is left;
8. the draw.

A text ends at the stop token, at the text `stop` (which is left out), or at its most tokens: the fewest of
max_new_tokens, max_length and, without max_new_tokens, what lets the model see no more than block_size.
Where it was the block that had no more room, the text is cut: the model did not end it, and the user did
not ask for that length. `on_cut` says what becomes of such texts. Beyond the block the context slides
(generate.py). All of this holds exactly, by masking and not by rejection. What a text as a whole must be
(`suffix`, unique, novel, not cut) is tried for, up to `tries` times in a row (collect.py).

    request.py    settings -> the same in token ids, all that cannot be done refused
    filters.py    logits -> probabilities -> id
    context.py    what the model sees of a long text
    stop_text.py  `stop` where tokens are more than characters or bytes
    texts.py      ids -> texts, marked if they are cut
    generate.py   request -> ids -> texts, by any engine
    beam.py       request -> the best texts, by beam search
    conditions.py what a text must be as a whole
    collect.py    n texts that meet conditions, group by group
    training_texts.py  what a run was trained on
"""
