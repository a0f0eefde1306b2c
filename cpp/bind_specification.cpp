// The Python class Specification: a model's settings and its table of tensors, read once.
#include "attributes.hpp"
#include "checks.hpp"

namespace motegpt::bindings {

using namespace nb::literals;

namespace {

Shape shape_of(nb::handle model) {
  Shape shape{};
  shape.vocab_size = attribute<int>(model, "vocab_size");
  shape.block_size = attribute<int>(model, "block_size");
  shape.n_layer = attribute<int>(model, "n_layer");
  shape.n_embd = attribute<int>(model, "n_embd");
  shape.n_head = attribute<int>(model, "n_head");
  shape.n_kv_head = attribute<int>(model, "kv_heads");
  shape.n_hidden = attribute<int>(model, "mlp_size");
  shape.bias = attribute<bool>(model, "bias");
  shape.embedding_norm = attribute<bool>(model, "embedding_norm");
  shape.activation = choice<Activation>(model, "activation", activation_names);
  shape.norm = choice<NormKind>(model, "norm", norm_names);
  shape.norm_gain = attribute<bool>(model, "norm_gain");
  shape.norm_bias = attribute<bool>(model, "norm_bias");
  shape.final_norm = attribute<bool>(model, "final_norm");
  shape.norm_eps = attribute<double>(model, "norm_eps");
  shape.position = choice<Position>(model, "position", position_names);
  shape.rope_base = attribute<double>(model, "rope_base");
  shape.qk_norm = attribute<bool>(model, "qk_norm");
  return shape;
}

std::vector<Tensor> tensors_of(nb::handle table) {
  std::vector<Tensor> tensors;
  for (const nb::handle tensor : table) {
    tensors.push_back({attribute<std::string>(tensor, "name"),
                       attribute<std::vector<int64_t>>(tensor, "shape"),
                       attribute<int>(tensor, "products") > 0, attribute<bool>(tensor, "decayed")});
  }
  return tensors;
}

std::vector<std::vector<int64_t>> keys_of(const std::vector<AnyArray>& contexts) {
  std::vector<std::vector<int64_t>> keys;
  for (const AnyArray& order : contexts)
    keys.push_back(copied<int64_t>(order, "Specification: contexts", {-1}));
  return keys;
}

}  // namespace

void bind_specification(nb::module_& module) {
  nb::class_<Specification>(module, "Specification",
                            "A model that the core can compute: its settings and its tensors.")
      .def(
          "__init__",
          [](Specification* made, nb::handle model, nb::handle tensors,
             const std::vector<AnyArray>& contexts) {
            new (made) Specification(shape_of(model), tensors_of(tensors), keys_of(contexts));
          },
          "model"_a, "tensors"_a, "contexts"_a = nb::tuple(),
          "A ModelConfig, its tensors and the keys of the contexts of each of its tables; ValueError for "
          "what "
          "the core cannot compute.");
}

}  // namespace motegpt::bindings
