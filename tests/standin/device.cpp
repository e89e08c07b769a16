// A device of its own for torch, made of the computer's memory. It counts the bytes that tensors hold on it, and like a
// GPU refuses to compute with tensors that lie elsewhere. What it computes is the CPU's result, bit for bit.

#include <ATen/EmptyTensor.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <ATen/detail/XPUHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace {

const c10::Device HERE(c10::DeviceType::XPU, 0);
const c10::DispatchKeySet KEY(c10::DispatchKey::XPU);
std::atomic<int64_t> held{0}, most{0};

struct Block {
  void* data;
  int64_t size;
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  held -= block->size;
  std::free(block->data);
  delete block;
}

struct Counting final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* data = std::aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    TORCH_CHECK(data, "out of memory");
    const int64_t now = held += size;
    int64_t seen = most;
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    return {data, new Block{data, static_cast<int64_t>(size)}, release, HERE};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t size) const override { std::memcpy(to, from, size); }
};

Counting allocator;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return HERE.type(); }
  c10::Device exchangeDevice(c10::Device) const override { return HERE; }
  c10::Device getDevice() const override { return HERE; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, HERE); }
  c10::Stream getDefaultStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, HERE); }
  c10::Stream getNewStream(c10::Device, int) const override { return c10::Stream(c10::Stream::DEFAULT, HERE); }
  c10::Stream exchangeStream(c10::Stream) const override { return c10::Stream(c10::Stream::DEFAULT, HERE); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};

struct Hooks final : at::XPUHooksInterface {
  void init() const override {}
  bool hasXPU() const override { return true; }
  c10::DeviceIndex getNumGPUs() const override { return 1; }
  c10::DeviceIndex current_device() const override { return 0; }
  void deviceSynchronize(c10::DeviceIndex) const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
};

C10_REGISTER_GUARD_IMPL(XPU, Guard)

}  // namespace

namespace at {
C10_REGISTER_CLASS(XPUHooksRegistry, XPUHooks, Hooks)
}

namespace {

bool here(const at::Tensor& t) { return t.defined() && t.device().type() == HERE.type(); }

// the same bytes, for the CPU's kernels
at::Tensor on_cpu(const at::Tensor& t) {
  auto seen = at::from_blob(t.data_ptr(), t.sizes(), t.strides(), t.options().device(c10::kCPU));
  if (t.is_conj()) seen._set_conj(true);
  if (t.is_neg()) seen._set_neg(true);
  return seen;
}

at::Tensor to_device(const at::Tensor& t) {
  if (!t.defined() || here(t)) return t;
  at::Tensor made = at::detail::empty_strided_generic(t.sizes(), t.strides(), &allocator, KEY, t.scalar_type());
  std::memcpy(made.data_ptr(), t.data_ptr(), made.storage().nbytes());
  return made;
}

at::Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator, KEY, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &allocator, KEY, c10::dtype_or_default(dtype));
}

at::Tensor& copy(at::Tensor& to, const at::Tensor& from, bool) {
  auto seen = here(to) ? on_cpu(to) : to;
  seen.copy_(here(from) ? on_cpu(from) : from);
  return to;
}

at::Scalar item(const at::Tensor& t) { return on_cpu(t).item(); }

at::Tensor& set_storage(at::Tensor& self, at::Storage source, int64_t offset, c10::IntArrayRef size,
                        c10::IntArrayRef stride) {
  return at::native::set_storage_cpu_(self, source, offset, size, stride);
}

// every other operator: the CPU's kernel on the same bytes
void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size();
  const size_t first = stack->size() - count;
  const std::string name = schema.operator_name().name;
  const bool indexing = name.rfind("aten::index", 0) == 0 || name.rfind("aten::_index", 0) == 0;
  std::vector<at::Tensor> originals(count);
  std::vector<std::pair<at::Tensor, at::Tensor>> grown;  // an output that a kernel may resize, and what it saw of it
  auto convert = [&](const at::Tensor& t, bool anywhere) {
    if (!t.defined()) return t;
    if (here(t)) return on_cpu(t);
    TORCH_CHECK(anywhere || t.dim() == 0, "Expected all tensors to be on the same device, but ", name,
                " found one on ", t.device(), " and one on ", HERE);
    return t;
  };
  for (size_t i = 0; i < count; i++) {
    auto& value = (*stack)[first + i];
    const auto& argument = schema.arguments()[i];
    if (value.isTensor()) {
      originals[i] = value.toTensor();
      auto seen = convert(originals[i], false);
      if (argument.alias_info() && argument.alias_info()->isWrite() && argument.is_out()) {
        // resized here, as a kernel can't resize what isn't its own
        if (originals[i].numel() == 0) seen = at::empty({0}, seen.options());
        grown.emplace_back(originals[i], seen);
      }
      value = seen;
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> seen;
      for (const at::Tensor& t : value.toTensorList()) seen.push_back(convert(t, false));
      value = c10::IValue(c10::List<at::Tensor>(seen));
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> seen;
      for (std::optional<at::Tensor> t : value.toOptionalTensorList())
        seen.push_back(t ? std::optional<at::Tensor>(convert(*t, indexing)) : std::nullopt);
      value = c10::IValue(seen);
    } else if (value.isDevice()) {
      value = c10::IValue(c10::Device(c10::kCPU));
    } else if (value.isGenerator()) {
      TORCH_CHECK(value.toGenerator().device().type() == HERE.type(), "Expected a generator of ", HERE, " for ", name,
                  " but found one of ", value.toGenerator().device());
    }
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  for (auto& [original, seen] : grown) {
    if (seen.data_ptr() == original.data_ptr()) continue;
    original.resize_(seen.sizes());
    on_cpu(original).copy_(seen);
  }
  const size_t results = schema.returns().size();
  const size_t start = stack->size() - results;
  for (size_t i = 0; i < results; i++) {
    auto& value = (*stack)[start + i];
    const auto* alias = schema.returns()[i].alias_info();
    if (value.isTensor()) {
      if (alias && alias->isWrite()) {
        for (size_t j = 0; j < count; j++) {
          const auto* other = schema.arguments()[j].alias_info();
          if (other && other->beforeSets() == alias->beforeSets() && originals[j].defined()) value = originals[j];
        }
      } else {
        TORCH_CHECK(!alias, name, " gives a view, which this device has to be taught");
        value = to_device(value.toTensor());
      }
    } else if (value.isTensorList()) {
      TORCH_CHECK(!alias, name, " gives views, which this device has to be taught");
      std::vector<at::Tensor> moved;
      for (const at::Tensor& t : value.toTensorList()) moved.push_back(to_device(t));
      value = c10::IValue(c10::List<at::Tensor>(moved));
    }
  }
}

int64_t allocated() { return held; }
int64_t peak() { return most; }
void reset() { most = held.load(); }

}  // namespace

TORCH_LIBRARY_IMPL(_, XPU, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>()); }

TORCH_LIBRARY_IMPL(aten, XPU, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("view", at::native::view);
  m.impl("unfold", at::native::unfold);
  m.impl("view_as_real", at::native::view_as_real);
  m.impl("view_as_complex", at::native::view_as_complex);
  m.impl("set_.source_Storage_storage_offset", set_storage);
  m.impl("set_.source_Storage", static_cast<at::Tensor& (*)(at::Tensor&, at::Storage)>(at::native::set_));
  m.impl("set_.source_Tensor", at::native::set_tensor_);
  m.impl("resize_", at::native::resize_);
  m.impl("copy_", copy);
  m.impl("_local_scalar_dense", item);
  // what torch would take apart for another device than the CPU, or ask a library of the device for
  for (const char* name : {"convolution", "linear", "native_group_norm", "native_layer_norm",
                           "scaled_dot_product_attention"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&compute>());
}

TORCH_LIBRARY(standin, m) {
  m.def("allocated() -> int", allocated);
  m.def("peak() -> int", peak);
  m.def("reset() -> ()", reset);
}

static const bool registered = [] {
  c10::SetAllocator(HERE.type(), &allocator);
  return true;
}();
