// Every kernel in its slow and obvious form: the reference of the tests.
//
// Plain row-major arrays without padding, one number at a time, sums in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "motegpt/core.hpp"

namespace motegpt::naive {

using Array = std::vector<double>;

/// c (M, N) = a (M, K) · b (K, N)
inline Array multiply(int M, int N, int K, const Array& a, const Array& b) {
  Array c(size_t(M * N), 0.0);
  for (int m = 0; m < M; ++m) {
    for (int n = 0; n < N; ++n) {
      for (int k = 0; k < K; ++k) c[m * N + n] += a[m * K + k] * b[k * N + n];
    }
  }
  return c;
}

/// x (rows, columns) -> (columns, rows)
inline Array transpose(int rows, int columns, const Array& x) {
  Array y(x.size());
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) y[j * rows + i] = x[i * columns + j];
  }
  return y;
}

/// y = x · (mean(x²) + eps)^-½, row by row.   x (N, C)
inline Array rmsnorm(int N, int C, double eps, const Array& x) {
  Array y(x.size());
  for (int n = 0; n < N; ++n) {
    double squares = 0;
    for (int c = 0; c < C; ++c) squares += x[n * C + c] * x[n * C + c];
    for (int c = 0; c < C; ++c) y[n * C + c] = x[n * C + c] / std::sqrt(squares / C + eps);
  }
  return y;
}

/// dx[i] = r · dy[i] - x[i] · r³ / C · Σ dy · x
inline Array rmsnorm_backward(int N, int C, double eps, const Array& dy, const Array& x) {
  Array dx(x.size());
  for (int n = 0; n < N; ++n) {
    double squares = 0, products = 0;
    for (int c = 0; c < C; ++c) {
      squares += x[n * C + c] * x[n * C + c];
      products += dy[n * C + c] * x[n * C + c];
    }
    const double r = 1 / std::sqrt(squares / C + eps);
    for (int c = 0; c < C; ++c) dx[n * C + c] = r * dy[n * C + c] - x[n * C + c] * r * r * r / C * products;
  }
  return dx;
}

/// For each head y[i] = x[i] · cos(t f) - x[i + D/2] · sin(t f),
/// y[i + D/2] = x[i + D/2] · cos(t f) + x[i] · sin(t f)
/// with f = base^(-2i / D), t = positions[n].   x (N, C)
inline Array rotate(int N, int C, int D, double base, const std::vector<int>& positions, const Array& x) {
  Array y(x.size());
  for (int n = 0; n < N; ++n) {
    for (int head = n * C; head < (n + 1) * C; head += D) {
      for (int i = 0; i < D / 2; ++i) {
        const double angle = positions[n] * std::pow(base, -2.0 * i / D), low = x[head + i],
                     high = x[head + D / 2 + i];
        y[head + i] = low * std::cos(angle) - high * std::sin(angle);
        y[head + D / 2 + i] = high * std::cos(angle) + low * std::sin(angle);
      }
    }
  }
  return y;
}

/// y = x · gain + bias, row by row.   x (N, C), gain, bias (C)
inline Array scale_and_shift(int N, int C, const Array& x, const Array& gain, const Array& bias) {
  Array y(x.size());
  for (int n = 0; n < N; ++n) {
    for (int c = 0; c < C; ++c) y[n * C + c] = x[n * C + c] * gain[c] + bias[c];
  }
  return y;
}

/// y = (x - mean) · (mean((x - mean)²) + eps)^-½, row by row.   x (N, C)
inline Array layernorm(int N, int C, double eps, Array x) {
  for (int n = 0; n < N; ++n) {
    const double mean = std::accumulate(&x[n * C], &x[n * C] + C, 0.0) / C;
    for (int c = 0; c < C; ++c) x[n * C + c] -= mean;
  }
  return rmsnorm(N, C, eps, x);
}

/// Of y = rmsnorm(x - mean): the gradient of x is that of x - mean, less its own mean.
inline Array layernorm_backward(int N, int C, double eps, const Array& dy, Array x) {
  for (int n = 0; n < N; ++n) {
    const double mean = std::accumulate(&x[n * C], &x[n * C] + C, 0.0) / C;
    for (int c = 0; c < C; ++c) x[n * C + c] -= mean;
  }
  Array dx = rmsnorm_backward(N, C, eps, dy, x);
  for (int n = 0; n < N; ++n) {
    const double mean = std::accumulate(&dx[n * C], &dx[n * C] + C, 0.0) / C;
    for (int c = 0; c < C; ++c) dx[n * C + c] -= mean;
  }
  return dx;
}

/// Σ x[n]   x (N, C) -> (C)
inline Array sum_rows(int N, int C, const Array& x) {
  Array sum(size_t(C), 0.0);
  for (int i = 0; i < N * C; ++i) sum[i % C] += x[i];
  return sum;
}

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// An activation of one number, and its derivative.
struct Activated {
  double value, slope;
};

inline Activated activate(Activation kind, double u) {
  const double pi = std::acos(-1.0);
  switch (kind) {
    case Activation::relu: return {u > 0 ? u : 0, u > 0 ? 1.0 : 0.0};
    case Activation::squared_relu: return {u > 0 ? u * u : 0, u > 0 ? 2 * u : 0};
    case Activation::gelu: {
      const double below = std::erfc(-u / std::sqrt(2)) / 2;
      return {u * below, below + u * std::exp(-u * u / 2) / std::sqrt(2 * pi)};
    }
    case Activation::gelu_tanh: {
      const double k = std::sqrt(2 / pi), t = std::tanh(k * (u + 0.044715 * u * u * u));
      return {u / 2 * (1 + t), (1 + t) / 2 + u / 2 * (1 - t * t) * k * (1 + 3 * 0.044715 * u * u)};
    }
    case Activation::swiglu: break;  // the factor of the gate
  }
  return {u * sigmoid(u), sigmoid(u) * (1 + u * (1 - sigmoid(u)))};
}

/// Row t of the lower triangle: p[t][u] = softmax over u <= t of q[t] · k[u] / √D.   q, k (T, D) -> p (T, T)
inline Array attention_weights(int T, int D, const Array& q, const Array& k) {
  Array p(size_t(T * T), 0.0);
  for (int t = 0; t < T; ++t) {
    double largest = -INFINITY, total = 0;
    for (int u = 0; u <= t; ++u) {
      for (int d = 0; d < D; ++d) p[t * T + u] += q[t * D + d] * k[u * D + d] / std::sqrt(double(D));
      largest = std::fmax(largest, p[t * T + u]);
    }
    for (int u = 0; u <= t; ++u) total += p[t * T + u] = std::exp(p[t * T + u] - largest);
    for (int u = 0; u <= t; ++u) p[t * T + u] /= total;
  }
  return p;
}

struct AttentionGradients {
  Array dq, dk, dv;  // (T, D)
};

/// The backward of y = p · v.   q, k, v, dy (T, D)
inline AttentionGradients attention_backward(int T, int D, const Array& q, const Array& k, const Array& v,
                                             const Array& dy) {
  const Array p = attention_weights(T, D, q, k);
  const Array dp = multiply(T, T, D, dy, transpose(T, D, v));
  Array ds(p.size());
  for (int t = 0; t < T; ++t) {
    double mean = 0;
    for (int u = 0; u < T; ++u) mean += p[t * T + u] * dp[t * T + u];
    for (int u = 0; u < T; ++u) ds[t * T + u] = p[t * T + u] * (dp[t * T + u] - mean) / std::sqrt(double(D));
  }
  return {multiply(T, D, T, ds, k), multiply(T, D, T, transpose(T, T, ds), q),
          multiply(T, D, T, transpose(T, T, p), dy)};
}

struct Loss {
  double loss;
  Array dlogits;  // (N, V)
};

/// Σ weights · -log(softmax(logits)[target] + added), and its gradient.   logits (N, V)
inline Loss cross_entropy(int N, int V, const Array& logits, const std::vector<int>& targets,
                          const Array& weights, double added = 0) {
  Loss result{0, Array(logits.size())};
  for (int n = 0; n < N; ++n) {
    const double* x = &logits[n * V];
    double largest = -INFINITY, total = 0;
    for (int v = 0; v < V; ++v) largest = std::fmax(largest, x[v]);
    for (int v = 0; v < V; ++v) total += std::exp(x[v] - largest);
    const double p_target = std::exp(x[targets[n]] - largest) / total, share = p_target / (p_target + added);
    result.loss -= weights[n] * std::log(p_target + added);
    for (int v = 0; v < V; ++v) {
      result.dlogits[n * V + v] = weights[n] * share * (std::exp(x[v] - largest) / total - (v == targets[n]));
    }
  }
  return result;
}

/// One number's step of Adam; its slots m and v are updated. Returns the new parameter.
inline double step(double w, double g, double* slot, const AdamScalars& s) {
  double &m = slot[0], &v = slot[1];
  m = s.beta1 * m + s.one_minus_beta1 * g;
  v = s.beta2 * v + s.one_minus_beta2 * g * g;
  return s.decay * w - s.step_size * m / (std::sqrt(s.v_scale * v) + s.eps);
}

/// One number's step of SGD; its slot is updated. Returns the new parameter.
inline double step(double w, double g, double* slot, const SGDScalars& s) {
  double& velocity = slot[0];
  velocity = s.momentum * velocity + g;
  return s.decay * w - s.lr * velocity;
}

/// The mask of dropout at number `index` under a key, in integers of 64 bits as in model/dropout.py.
inline double dropout_mask(uint64_t key, uint64_t index, double p) {
  const uint64_t mask32 = 0xFFFFFFFF;
  uint64_t h = (key + index * 0x9E3779B9) & mask32;
  h = ((h ^ (h >> 16)) * 0x85EBCA6B) & mask32;
  h = ((h ^ (h >> 13)) * 0xC2B2AE35) & mask32;
  return double(h ^ (h >> 16)) < std::round(p * 0x1p32) ? 0 : 1 / (1 - p);
}

/// Of each order 2, 3, … the keys of its contexts.
using Keys = std::vector<std::vector<int64_t>>;

/// The row, counted through all tables, of the context of `order` tokens that ends at tokens[t]; -1: none.
inline int context_row(const Keys& keys, const int* tokens, int t, int order) {
  if (t < order - 1) return -1;
  int64_t row = tokens[t], tables_before = 0;
  for (int k = 2; k <= order; ++k) {
    const std::vector<int64_t>& table = keys[size_t(k - 2)];
    const auto found = std::find(table.begin(), table.end(), row << 20 | tokens[t - k + 1]);
    if (found == table.end()) return -1;
    row = found - table.begin();
    if (k < order) tables_before += int64_t(table.size());
  }
  return int(tables_before + row);
}

/// The probability of every token with filters and masks, as generation/filters.py has it.   x (V)
template <class Filters, class Flags>
Array filtered(Array x, const Filters& filters, const Flags& seen, const Flags& masked) {
  const size_t V = x.size();
  for (size_t i = 0; i < V; ++i) {
    if (seen[i]) x[i] = x[i] > 0 ? x[i] / filters.repetition_penalty : x[i] * filters.repetition_penalty;
    if (masked[i]) x[i] = -INFINITY;
  }
  const double highest = *std::max_element(x.begin(), x.end());
  for (double& value : x) value = std::exp((value - highest) / filters.temperature);
  std::vector<size_t> order(V);
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
  for (size_t rank = 0; rank < V; ++rank) {
    if (filters.top_k > 0 && rank >= size_t(filters.top_k)) x[order[rank]] = 0;
  }
  const double wanted = filters.top_p * std::accumulate(x.begin(), x.end(), 0.0);
  double mass = 0;
  for (const size_t i : order) {
    const bool enough = filters.top_p < 1 && mass >= wanted;
    mass += x[i];
    if (enough || x[i] < filters.min_p) x[i] = 0;
  }
  const double total = std::accumulate(x.begin(), x.end(), 0.0);
  for (double& value : x) value /= total;
  return x;
}

}  // namespace motegpt::naive
