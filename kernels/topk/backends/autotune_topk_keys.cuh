// Scores as unsigned keys of the same order, and what warps and the blocks of a cluster do together.

#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

namespace autotune_topk {

constexpr unsigned kAll = 0xffffffffu;
// A key of no score: the smallest score, -inf, has a larger one.
constexpr uint32_t kNone = 0;

template <typename Score>
struct Keys;

template <>
struct Keys<float> {
  static constexpr int kBits = 32;
  static constexpr int kPerLoad = 4;
  // Adding 0.0 makes 0.0 of -0.0, and the one NaN 0x7fffffff of every NaN.
  static __device__ __forceinline__ uint32_t of(float score) {
    const uint32_t bits = __float_as_uint(__fadd_rn(score, 0.0f));
    return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
  }
  static __device__ __forceinline__ void unpack(const uint4& loaded, uint32_t* keys) {
    keys[0] = of(__uint_as_float(loaded.x));
    keys[1] = of(__uint_as_float(loaded.y));
    keys[2] = of(__uint_as_float(loaded.z));
    keys[3] = of(__uint_as_float(loaded.w));
  }
};

template <>
struct Keys<__nv_bfloat16> {
  static constexpr int kBits = 16;
  static constexpr int kPerLoad = 8;
  static __device__ __forceinline__ uint32_t of_bits(uint32_t high) {
    return Keys<float>::of(__uint_as_float(high)) >> 16;
  }
  static __device__ __forceinline__ uint32_t of(__nv_bfloat16 score) {
    return of_bits(static_cast<uint32_t>(__bfloat16_as_ushort(score)) << 16);
  }
  static __device__ __forceinline__ void unpack(const uint4& loaded, uint32_t* keys) {
    const uint32_t words[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      keys[2 * i] = of_bits(words[i] << 16);
      keys[2 * i + 1] = of_bits(words[i] & 0xffff0000u);
    }
  }
};

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ uint32_t cluster_size() {
  uint32_t size;
  asm volatile("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(size));
  return size;
}
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
__device__ __forceinline__ uint32_t address_in(const void* own, uint32_t rank) {
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(own)), "r"(rank));
  return address;
}
__device__ __forceinline__ uint32_t load_from(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}
__device__ __forceinline__ uint2 load_two_from(uint32_t address) {
  uint2 value;
  asm volatile("ld.shared::cluster.v2.u32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "r"(address) : "memory");
  return value;
}
#else
// Without clusters a row is one block's.
__device__ __forceinline__ uint32_t cluster_rank() { return 0; }
__device__ __forceinline__ uint32_t cluster_size() { return 1; }
__device__ __forceinline__ void cluster_arrive() {}
__device__ __forceinline__ void cluster_wait() {}
__device__ __forceinline__ uint32_t address_in(const void* own, uint32_t) { return shared_address(own); }
__device__ __forceinline__ uint32_t load_from(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}
__device__ __forceinline__ uint2 load_two_from(uint32_t address) {
  uint2 value;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "r"(address) : "memory");
  return value;
}
#endif

// Sum of the lanes up to and with the own one.
__device__ __forceinline__ uint32_t scan_lanes(uint32_t value, int lane) {
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    const uint32_t before = __shfl_up_sync(kAll, value, step);
    if (lane >= step) value += before;
  }
  return value;
}

}  // namespace autotune_topk
