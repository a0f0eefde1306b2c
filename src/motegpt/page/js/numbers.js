/** Small numerics of the pictures: distributions, principal components, histograms. Nothing here touches the page. */

/** exp of a row of logits (or log-probabilities) over their sum, at a temperature; written into out. */
export function softmax(values, offset, count, out, temperature = 1, to = offset) {
  let most = -Infinity;
  for (let i = offset; i < offset + count; i += 1) most = Math.max(most, values[i]);
  let sum = 0;
  for (let i = 0; i < count; i += 1) sum += out[to + i] = Math.exp((values[offset + i] - most) / temperature);
  for (let i = 0; i < count; i += 1) out[to + i] /= sum;
  return out;
}

/** The indices of the n largest of count values from offset, largest first. */
export function topOf(values, offset, count, n) {
  const found = [];
  for (let i = 0; i < count; i += 1) {
    const value = values[offset + i];
    if (found.length === n && value <= values[offset + found[n - 1]]) continue;
    let at = found.length;
    while (at > 0 && values[offset + found[at - 1]] < value) at -= 1;
    found.splice(at, 0, i);
    if (found.length > n) found.pop();
  }
  return found;
}

/** The entropy of count probabilities from offset, in bits. */
export function entropy(probabilities, offset, count) {
  let bits = 0;
  for (let i = offset; i < offset + count; i += 1) {
    if (probabilities[i] > 0) bits -= probabilities[i] * Math.log2(probabilities[i]);
  }
  return bits;
}
