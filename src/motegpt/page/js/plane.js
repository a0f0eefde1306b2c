/** The first two principal components of the rows of a matrix, by orthogonal iteration that starts where it last ended. */

const [AT_FIRST, LATER] = [200, 30]; // iterations: later ones begin near the result
const CONVERGED = 1e-12; // change of the squared cosine between two iterations

export class Plane {
  constructor(rows, columns) {
    Object.assign(this, {rows, columns});
    this.covariance = new Float64Array(columns * columns);
    this.mean = new Float64Array(columns);
    this.basis = [0, 1].map((which) => Float64Array.from({length: columns}, (_, i) => Math.cos(1 + i * (which + 1))));
    this.next = [0, 1].map(() => new Float64Array(columns));
    this.points = new Float64Array(2 * rows); // x, y of each row
    this.last = new Float64Array(2 * rows);
    this.shares = [0, 0]; // of the variance
    this.isFirst = true;
  }

  /** Project rows from offset of values onto their principal plane, turned so that they are near the last points. */
  update(values, offset = 0) {
    this.#covary(values, offset);
    this.#iterate();
    this.#diagonalize();
    this.last.set(this.points);
    this.#project(values, offset);
    if (this.isFirst) this.#fixSigns();
    else this.#turnToLast();
    this.isFirst = false;
    return this.points;
  }

  #covary(values, offset) {
    const {rows, columns, covariance, mean} = this;
    mean.fill(0);
    for (let i = 0; i < rows * columns; i += 1) mean[i % columns] += values[offset + i] / rows;
    covariance.fill(0);
    for (let row = 0; row < rows; row += 1) {
      const at = offset + row * columns;
      for (let i = 0; i < columns; i += 1) {
        const centered = values[at + i] - mean[i];
        for (let j = 0; j <= i; j += 1) covariance[i * columns + j] += centered * (values[at + j] - mean[j]);
      }
    }
    for (let i = 0; i < columns; i += 1) {
      for (let j = 0; j < i; j += 1) covariance[j * columns + i] = covariance[i * columns + j];
    }
  }

  #times(vector, out) {
    const {columns, covariance} = this;
    for (let i = 0; i < columns; i += 1) {
      let sum = 0;
      for (let j = 0; j < columns; j += 1) sum += covariance[i * columns + j] * vector[j];
      out[i] = sum;
    }
  }

  #iterate() {
    orthonormalize(this.basis);
    for (let turn = this.isFirst ? AT_FIRST : LATER; turn > 0; turn -= 1) {
      this.basis.forEach((vector, i) => this.#times(vector, this.next[i]));
      if (!orthonormalize(this.next)) return;
      const [[a, b], [c, d]] = this.next.map((one) => this.basis.map((other) => dot(one, other)));
      [this.basis, this.next] = [this.next, this.basis];
      if (2 - (a * a + b * b + c * c + d * d) < CONVERGED) return;
    }
  }

  /** Turn the basis within its plane to the components themselves (Rayleigh-Ritz). */
  #diagonalize() {
    const [u, v] = this.basis;
    this.basis.forEach((vector, i) => this.#times(vector, this.next[i]));
    const [a, b, d] = [dot(u, this.next[0]), dot(u, this.next[1]), dot(v, this.next[1])];
    const angle = 0.5 * Math.atan2(2 * b, a - d);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    for (let i = 0; i < u.length; i += 1) [u[i], v[i]] = [cos * u[i] + sin * v[i], cos * v[i] - sin * u[i]];
    let total = 0;
    for (let i = 0; i < this.columns; i += 1) total += this.covariance[i * this.columns + i];
    const half = Math.hypot((a - d) / 2, b);
    this.shares = total > 0 ? [((a + d) / 2 + half) / total, ((a + d) / 2 - half) / total] : [0, 0];
  }

  #project(values, offset) {
    const {rows, columns, mean, points, basis: [u, v]} = this;
    for (let row = 0; row < rows; row += 1) {
      let [x, y] = [0, 0];
      for (let i = 0; i < columns; i += 1) {
        const centered = values[offset + row * columns + i] - mean[i];
        x += centered * u[i];
        y += centered * v[i];
      }
      points[2 * row] = x;
      points[2 * row + 1] = y;
    }
  }

  /** As `motegpt plot` fixes them: the largest coordinate of a component is positive. */
  #fixSigns() {
    for (const axis of [0, 1]) {
      let largest = 0;
      for (let i = axis; i < this.points.length; i += 2) {
        if (Math.abs(this.points[i]) > Math.abs(largest)) largest = this.points[i];
      }
      if (largest < 0) for (let i = axis; i < this.points.length; i += 2) this.points[i] = -this.points[i];
    }
  }

  /** The rotation or reflection that brings the points nearest to the last ones (orthogonal Procrustes). */
  #turnToLast() {
    const {points, last} = this;
    let [a, b, c, d] = [0, 0, 0, 0]; // Σ point · lastᵀ
    for (let i = 0; i < points.length; i += 2) {
      a += points[i] * last[i];
      b += points[i] * last[i + 1];
      c += points[i + 1] * last[i];
      d += points[i + 1] * last[i + 1];
    }
    const flip = Math.hypot(a - d, b + c) > Math.hypot(a + d, b - c) ? -1 : 1;
    const angle = Math.atan2(b - flip * c, a + flip * d);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = [points[i], flip * points[i + 1]];
      points[i] = cos * x - sin * y;
      points[i + 1] = sin * x + cos * y;
    }
  }
}

function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i += 1) sum += one[i] * other[i];
  return sum;
}

/** Gram-Schmidt on two vectors, in place; false where they do not span a plane. */
function orthonormalize([u, v]) {
  const long = Math.sqrt(dot(u, u));
  if (!(long > 0)) return false;
  for (let i = 0; i < u.length; i += 1) u[i] /= long;
  const along = dot(u, v);
  for (let i = 0; i < v.length; i += 1) v[i] -= along * u[i];
  const rest = Math.sqrt(dot(v, v));
  if (!(rest > 0)) return false;
  for (let i = 0; i < v.length; i += 1) v[i] /= rest;
  return true;
}
