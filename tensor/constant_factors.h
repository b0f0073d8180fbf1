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

/// What a backend has made of the factors that are held as constant (Backend::hold_constant). A form lives as
/// long as somebody holds it.
template <typename Form>
class ConstantFactors {
 public:
  /// The form of a factor: the one that somebody holds already, or make().
  template <typename Make>
  std::shared_ptr<const Form> hold(const FactorKey& key, const Make& make) {
    if (auto held = find(key)) return held;
    std::erase_if(forms_, [](const auto& entry) { return entry.second.expired(); });
    auto form = std::make_shared<const Form>(make());
    forms_[key] = form;
    return form;
  }

  /// Null for a factor that nobody holds.
  std::shared_ptr<const Form> find(const FactorKey& key) const {
    const auto found = forms_.find(key);
    return found == forms_.end() ? nullptr : found->second.lock();
  }

 private:
  std::map<FactorKey, std::weak_ptr<const Form>> forms_;
};

}  // namespace normtune
