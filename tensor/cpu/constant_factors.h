#pragma once

#include <map>
#include <memory>

#include "tensor/backend.h"

namespace normtune {

/// The right factor of a product, as far as its elements are concerned.
struct FactorKey {
  MatrixRef matrix;
  bool transposed;
  ProductPrecision precision;

  auto operator<=>(const FactorKey&) const = default;  // NOLINT(modernize-use-nullptr): it compares with 0
};

/// The factors that are held as constant (Backend::hold_constant), packed. They live as long as somebody
/// holds them.
class ConstantFactors {
 public:
  /// The packed form of a factor: the one that somebody holds already, or make().
  template <typename Make>
  std::shared_ptr<const Tensor> hold(const FactorKey& key, const Make& make) {
    if (auto held = find(key)) return held;
    std::erase_if(forms_, [](const auto& entry) { return entry.second.expired(); });
    auto form = std::make_shared<const Tensor>(make());
    forms_[key] = form;
    return form;
  }

  /// Null for a factor that nobody holds.
  std::shared_ptr<const Tensor> find(const FactorKey& key) const {
    const auto found = forms_.find(key);
    return found == forms_.end() ? nullptr : found->second.lock();
  }

 private:
  std::map<FactorKey, std::weak_ptr<const Tensor>> forms_;
};

}  // namespace normtune
