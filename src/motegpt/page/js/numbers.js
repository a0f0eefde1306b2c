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

/** The cosine of the angle between rows a and b of the matrix that begins at offset; 0 with a row of zeros. */
export function cosine(values, offset, columns, a, b) {
  let [dot, one, other] = [0, 0, 0];
  for (let i = 0; i < columns; i += 1) {
    const [x, y] = [values[offset + a * columns + i], values[offset + b * columns + i]];
    dot += x * y;
    one += x * x;
    other += y * y;
  }
  return one > 0 && other > 0 ? dot / Math.sqrt(one * other) : 0;
}

/**
 * Counts of the values low … high in equal bins, written into out; those outside and not finite are left out.
 * transform: applied to each value first. Returns {mean, std, zeros: share, counted}, of the values untransformed.
 */
export function histogram(values, offset, count, low, high, out, transform = (value) => value) {
  out.fill(0);
  let [sum, squares, zeros, counted] = [0, 0, 0, 0];
  for (let i = offset; i < offset + count; i += 1) {
    const value = values[i];
    sum += value;
    squares += value * value;
    if (value === 0) zeros += 1;
    const bin = Math.floor(((transform(value) - low) / (high - low)) * out.length);
    if (bin >= 0 && bin < out.length) {
      out[bin] += 1;
      counted += 1;
    }
  }
  const mean = sum / count;
  return {mean, std: Math.sqrt(Math.max(0, squares / count - mean * mean)), zeros: zeros / count, counted};
}

/** The standard deviation of count values from offset. */
export function deviation(values, offset, count) {
  let [sum, squares] = [0, 0];
  for (let i = offset; i < offset + count; i += 1) {
    sum += values[i];
    squares += values[i] * values[i];
  }
  return Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2));
}
