"""The automatic differentiation of Oxidized-GPT, which the setting `clip_node` switches on.

Every engine has it in a node_clip module of its own; the operations beside those modules are the textbook's.
It differs from the textbook in four rules:

- the gradient of a node is clipped to ± clip_node as it is passed on to the node's parents (the sum over all
  uses of a weight is clipped by `clip_value`, an ordinary setting);
- the loss is -log(p + ADDED_TO_P), so it is at most 18.4 nats a token;
- the derivative of log a is 0 where |a| <= FLAT_LOG, and 1 / a elsewhere;
- a / b is a · b^-1, where b^-1 is a node of its own for each division: a softmax has one for each of its
  probabilities, and clips the gradient of each before it adds them up.
"""

ADDED_TO_P = 1e-8
FLAT_LOG = 1e-6
