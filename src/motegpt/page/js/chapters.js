/**
 * The tour: eight short chapters. Each sets the page up before it is read.
 * view: the id of the view that is scrolled to; text: what is looked at; step: trained to this step and paused, or
 * running from it with `run`; paragraphs: backticks mark names; attempt: something to try.
 */

export const CHAPTERS = [
  {
    title: "A token", view: "flow", text: "emma", step: 0,
    paragraphs: [
      "A computer cannot multiply letters, so each character of the list gets a number: its token id. One more token, " +
        "shown as ⊢, says where a name begins and where it ends.",
      "The model does one thing. It reads the tokens so far and gives each token of the vocabulary a probability of " +
        "being the next one. After ⊢ e m m a it should say: ⊢, the name is over.",
      "This model is new. Its numbers are random, so every character is about equally likely.",
    ],
    attempt: "Type your own name as the text. A character that is not in the list has no token: what does the page say?",
  },
  {
    title: "An embedding", view: "embeddings", text: "emma", step: 0, run: true, speed: 1,
    paragraphs: [
      "A token id says nothing about its letter: 5 is not more than 4 in any useful way. So each token has a row of " +
        "numbers of its own, its embedding. A second table has a row for each position.",
      "The map shows the letters by their embeddings. At first they lie anywhere. While the model trains, letters that " +
        "are used alike move together, because that makes the next letter easier to predict.",
      "The model was given no list of vowels.",
    ],
    attempt: "Pause with the space key, point at a letter, and see which others are close to it.",
  },
  {
    title: "Attention", view: "attention", text: "emma", step: 1000,
    paragraphs: [
      "A position knows only its own letter. Attention lets it look back at earlier ones: each head compares the query " +
        "of the position with the keys of all positions before it, and takes the average of their values, weighted by " +
        "how well they fit.",
      "Each triangle is one head. A row is the position that looks, a column is what it looks at; the numbers of a row " +
        "add up to 1. Nothing looks to the right: the model must not see the letter that it has to predict.",
    ],
    attempt: "Start again with R and run: the triangles begin almost even, and get a pattern. Then switch a head off " +
      "and see how the loss changes.",
  },
  {
    title: "The MLP and the residual stream", view: "flow", text: "emma", step: 1000,
    paragraphs: [
      "Follow the line on the left: the residual stream, a row of numbers for each position. A layer does not " +
        "replace it. Attention adds what it gathered from other positions; the MLP adds what it computed from this one.",
      "The MLP makes four times as many numbers, sets the negative ones to zero, and mixes the rest back. Without that " +
        "zero, its two matrices could do no more than a single one.",
      "At the end each row of the stream is compared with each token. The results are the logits, the scores of the " +
        "next character; softmax makes probabilities of them.",
    ],
    attempt: "Choose two layers in the settings: the stream gets longer, and the loss may fall a little further.",
  },
  {
    title: "The loss", view: "loss", text: "emma", step: 0, run: true, speed: 1,
    paragraphs: [
      "How wrong is the model? Take the probability p that it gave the character that really came, and compute " +
        "−log p: zero when it was certain, and large when it was surprised. The mean of that is the loss.",
      "Guessing evenly among all tokens gives the dashed line `uniform`. The lines below it are what counting reaches: " +
        "how often each character comes at all (unigram), after the last one (bigram), after the last two (trigram). They " +
        "count the list itself, so the trigram is hard to beat.",
      "Each step looks at one name only, so the dots jump; the line is their mean.",
    ],
    attempt: "Watch when the mean crosses the bigram line. From then on the model uses more than the last letter.",
  },
  {
    title: "Backward, and the update", view: "slow", text: "emma", step: 100, slow: true,
    paragraphs: [
      "Which way should each number move? The gradient says by how much the loss would change if the number grew a " +
        "little. The backward pass gets all of them at once, from the loss back to the first table, by the chain rule.",
      "It begins simply: at the logits, the gradient is the probability given, less 1 for the character that came.",
      "Then Adam updates every number a little against its gradient, by steps that adapt to how large and how steady the " +
        "gradient has been. The learning rate sets their size. That is all that training is.",
    ],
    attempt: "Go through the four frames. Then set the learning rate to 1 and run: what happens to the loss?",
  },
  {
    title: "Sampling and temperature", view: "samples", text: "", step: 1000,
    paragraphs: [
      "To invent a name, start with ⊢, draw a token by its probability, append it, and ask again, until the model draws " +
        "⊢. Then the name is over.",
      "The temperature divides the logits first. Below 1, likely letters become likelier and names safe; above 1, rare " +
        "letters get a chance and names grow wild.",
    ],
    attempt: "Move the temperature from 0.1 to 2. At 0.1, why are so many samples alike?",
  },
  {
    title: "Why it invents", view: "samples", text: "", step: 0, run: true, speed: 5,
    paragraphs: [
      "Nothing in the model is a name. There are only numbers that make some next letters likelier than others, so what " +
        "it draws is plausible, true or not. A large language model does the same with words: this is why it can be " +
        "fluent and wrong.",
      "A dot marks samples that occur in the list: here it remembered instead. A short list, a large model and a long " +
        "training lead to memory; a long list leads to invention.",
    ],
    attempt: "Paste five names as your own list and train 1,000 steps: the meter fills. Drag the time line back to see " +
      "when it did.",
  },
];
