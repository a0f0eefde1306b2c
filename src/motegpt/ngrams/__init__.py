"""N-grams: baselines, Kneser-Ney and its average with a GPT, and the contexts of the n-gram embedding."""
