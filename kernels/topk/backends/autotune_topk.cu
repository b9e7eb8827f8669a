// Exact top-k of rows of scores: radix selection on rows that are read once and stay in the registers of a cluster.
//
// A row is shared out among the blocks of a cluster, a block's part among its warps, in order: a warp holds consecutive
// scores, so that the order of warps is the order of positions. Scores become unsigned keys of the same order, in which
// -0.0 is 0.0 and NaN is above all. The k-th largest key is found digit by digit: each block counts its keys by their
// digit in shared memory, and reads the counts of the others through the cluster's shared memory. As soon as few enough
// keys have the digits found so far, each block takes a copy of all of them and finds the rest by itself.
// Then blocks know how many keys above and at the threshold the ones before them hold, and write their own indices.
//
// Nothing depends on the order in which threads run, so equal inputs give equal bits. The grid depends on rows, width
// and knobs only; lengths are read here.

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

namespace autotune_topk {

constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;
constexpr int kGroups = kBins / 32;
constexpr unsigned kAll = 0xffffffffu;
// A key of no score: the smallest score, -inf, has a larger one.
constexpr uint32_t kNone = 0;

// The layout of _autotune_topk.py's Arguments.
struct Arguments {
  const void* scores;             // [rows, row_stride]
  const int32_t* lengths;         // [rows], or null: all are `width`
  const int32_t* row_starts;      // [rows], or null: 0
  const int32_t* page_table;      // [table rows, table_stride], or null: no paged output
  const int32_t* row_to_table;    // [rows], with page_table
  const int32_t* offsets;         // [rows], or null: none to add
  int32_t* out;                   // [rows, k]
  int64_t row_stride;
  int64_t table_stride;
  int32_t rows;
  int32_t width;                  // of a window, at most
  int32_t k;
  int32_t page_bits;
  int32_t last_of_equals;         // 0: of equal scores those that come first are taken; 1: those that come last
  int32_t most_kept;              // keys that a block's buffer holds
};

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
  static __device__ __forceinline__ uint32_t of_bits(uint32_t high) { return Keys<float>::of(__uint_as_float(high)) >> 16; }
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

// A digit: keys with larger ones, and keys that have it.
struct Found {
  uint32_t digit;
  uint32_t above;
  uint32_t inside;
};

// A block's memory; the blocks of a cluster read each other's.
struct Shared {
  uint32_t counts[2][kBins];  // keys by their digit; levels take turns
  uint32_t groups[2][kGroups];
  uint32_t warp_sums[4][32];
  uint32_t totals[2];  // keys above the threshold, and keys at it
  uint32_t kept;       // keys in the own buffer
  uint32_t surely;     // keys above all of those
  Found found;
};

template <typename Score, int kThreads, int kValues, bool kResident>
struct Block {
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kChunk = kThreads * kValues;
  static constexpr int kLoads = kValues / Keys<Score>::kPerLoad;
  static constexpr int kPerLoad = Keys<Score>::kPerLoad;
  static constexpr int kBinsEach = kBins / kThreads;
  static_assert(kValues <= 32 && kValues % kPerLoad == 0 && kBinsEach % 2 == 0, "");

  Shared& shared;
  const Score* row;
  const int length;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int rank = cluster_rank();
  const int blocks = cluster_size();
  const bool aligned;
  const int chunks;
  uint32_t keys[kValues];

  __device__ Block(Shared& memory, const Score* scores, int valid, int width)
      : shared(memory), row(scores), length(valid), aligned((reinterpret_cast<uintptr_t>(scores) & 15) == 0),
        chunks(kResident ? 1 : (width + kChunk * static_cast<int>(cluster_size()) - 1) / (kChunk * static_cast<int>(cluster_size()))) {}

  // Where the warp's scores of a chunk begin in the row.
  __device__ __forceinline__ int begin(int chunk) const {
    return ((rank * chunks + chunk) * kWarps + warp) * (32 * kValues);
  }

  __device__ __forceinline__ int position(int first, int value) const {
    return first + (value / kPerLoad) * (32 * kPerLoad) + lane * kPerLoad + value % kPerLoad;
  }

  __device__ __forceinline__ void load(int chunk) {
    const int first = begin(chunk);
    if (aligned && first + 32 * kValues <= length) {
      uint4 loaded[kLoads];
      const uint4* from = reinterpret_cast<const uint4*>(row + first) + lane;
#pragma unroll
      for (int i = 0; i < kLoads; ++i) loaded[i] = __ldg(from + 32 * i);
#pragma unroll
      for (int i = 0; i < kLoads; ++i) Keys<Score>::unpack(loaded[i], keys + i * kPerLoad);
      return;
    }
#pragma unroll
    for (int value = 0; value < kValues; ++value) {
      const int at = position(first, value);
      keys[value] = at < length ? Keys<Score>::of(row[at]) : kNone;
    }
  }

  __device__ __forceinline__ bool has_scores(int chunk) const { return begin(chunk) < length; }

  template <typename Each>
  __device__ __forceinline__ void each_chunk(Each each) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      if (!has_scores(chunk)) return;
      if (!kResident) load(chunk);
      each();
    }
  }

  // Sums of the own counts by groups of 32 bins.
  __device__ __forceinline__ void group(const uint32_t* counts, uint32_t* groups) {
    const uint2* from = reinterpret_cast<const uint2*>(counts + kBinsEach * threadIdx.x);
    uint32_t sum = 0;
#pragma unroll
    for (int i = 0; i < kBinsEach / 2; ++i) sum += from[i].x + from[i].y;
#pragma unroll
    for (int step = 1; step < 32 / kBinsEach; step <<= 1) sum += __shfl_xor_sync(kAll, sum, step);
    if (lane % (32 / kBinsEach) == 0) groups[kBinsEach * threadIdx.x / 32] = sum;
  }

  // The bin of the needed-th largest key by the counts of some blocks: the own one, or all of them. By one warp.
  __device__ __forceinline__ Found pick(const uint32_t* counts, const uint32_t* groups, int of_blocks, uint32_t needed) {
    uint2 pair = make_uint2(0, 0);
    if (of_blocks == 1) {
      pair = *reinterpret_cast<const uint2*>(groups + kGroups - 2 - 2 * lane);
    } else {
#pragma unroll 4
      for (int other = 0; other < of_blocks; ++other) {
        const uint2 one = load_two_from(address_in(groups + kGroups - 2 - 2 * lane, other));
        pair.x += one.x;
        pair.y += one.y;
      }
    }
    uint32_t through = scan_lanes(pair.x + pair.y, lane);
    uint32_t before = through - pair.x - pair.y;
    int hit = __ffs(__ballot_sync(kAll, before < needed && needed <= through)) - 1;
    if (hit < 0) return {0, 0, 0};
    const bool upper = needed <= before + pair.y;
    const int chosen = __shfl_sync(kAll, kGroups - 1 - 2 * lane - (upper ? 0 : 1), hit);
    const uint32_t above = __shfl_sync(kAll, upper ? before : before + pair.y, hit);
    const uint32_t* bin = counts + 32 * chosen + 31 - lane;
    uint32_t count = 0;
    if (of_blocks == 1) {
      count = *bin;
    } else {
#pragma unroll 4
      for (int other = 0; other < of_blocks; ++other) count += load_from(address_in(bin, other));
    }
    through = above + scan_lanes(count, lane);
    before = through - count;
    hit = __ffs(__ballot_sync(kAll, before < needed && needed <= through)) - 1;
    return {static_cast<uint32_t>(32 * chosen + 31 - hit), __shfl_sync(kAll, before, hit), __shfl_sync(kAll, count, hit)};
  }

  __device__ __forceinline__ void clear(uint32_t* counts) {
    for (int i = threadIdx.x; i < kBins / 4; i += kThreads) reinterpret_cast<uint4*>(counts)[i] = make_uint4(0, 0, 0, 0);
  }

  __device__ __forceinline__ void sync() {
    if (blocks > 1) {
      cluster_arrive();
      cluster_wait();
    } else {
      __syncthreads();
    }
  }
};

// Keys above `above` are selected, and `ties` of the `equal` ones that are `above` itself (none if ties is 0).
struct Threshold {
  uint32_t above;
  uint32_t ties;
  uint32_t equal;
};

// What a thread knows of its keys once those with the threshold's first digits were collected. One bit a value.
struct Collected {
  bool done;
  uint32_t surely;         // above those
  uint32_t maybe;          // of those
  uint32_t at;             // where they are in the own buffer, in order
  uint32_t before_surely;  // of the blocks before the own one
  uint32_t before_maybe;   // likewise: the first in the buffer of all
};

template <typename Score, int kThreads, int kValues, bool kResident>
__device__ __forceinline__ Threshold find_threshold(Block<Score, kThreads, kValues, kResident>& block, uint32_t* own,
                                                    uint32_t* all, int k, int most_kept, Collected& mine) {
  Shared& shared = block.shared;
  uint32_t prefix = 0, needed = k, kept = 0;
  int shift = Keys<Score>::kBits, level = 0;
  bool local = false;
  uint32_t* list = block.blocks > 1 ? all : own;
  while (true) {
    const int bits = shift < kDigitBits ? shift : kDigitBits;
    const int over = shift;  // bits of the digits that are known lie above it
    shift -= bits;
    uint32_t* counts = shared.counts[level & 1];
    uint32_t* groups = shared.groups[level & 1];
    const uint32_t mask = (1u << bits) - 1;
    if (local) {
      for (uint32_t i = threadIdx.x; i < kept; i += kThreads) {
        const uint32_t key = list[i];
        if ((key >> over) == prefix) atomicAdd(counts + ((key >> shift) & mask), 1u);
      }
    } else {
      block.each_chunk([&] {
#pragma unroll
        for (int value = 0; value < kValues; ++value) {
          const uint32_t key = block.keys[value];
          if (level == 0 || (key >> over) == prefix) atomicAdd(counts + ((key >> shift) & mask), 1u);
        }
      });
    }
    __syncthreads();
    block.group(counts, groups);
    Found found;
    if (local || block.blocks == 1) {
      __syncthreads();
      found = block.pick(counts, groups, 1, needed);
    } else {
      block.sync();
      if (block.warp == 0) {
        found = block.pick(counts, groups, block.blocks, needed);
        if (block.lane == 0) shared.found = found;
      }
      __syncthreads();
      found = shared.found;
    }
    // All blocks have read the counts of the level before; the next one takes their place.
    if (level > 0) block.clear(shared.counts[(level + 1) & 1]);
    prefix = (prefix << bits) | found.digit;
    needed -= found.above;
    ++level;
    // All that have these digits: above everything that has smaller ones.
    if (found.inside == needed) return {(prefix << shift) - 1, 0, 0};
    if (shift == 0) return {prefix, needed, found.inside};
    if (local || found.inside > static_cast<uint32_t>(most_kept)) {
      if (level > 1) __syncthreads();  // what was cleared
      continue;
    }
    // Few have these digits: collect them.
    block.each_chunk([&] {
      uint32_t maybe = 0, surely = 0;
#pragma unroll
      for (int value = 0; value < kValues; ++value) {
        const uint32_t digits = block.keys[value] >> shift;
        if (digits == prefix) maybe |= 1u << value;
        if (digits > prefix) surely |= 1u << value;
      }
      const uint32_t through = scan_lanes(__popc(maybe), block.lane);
      uint32_t at = 0;
      if (block.lane == 31 && through) at = atomicAdd(&shared.kept, through);
      at = __shfl_sync(kAll, at, 31) + through - __popc(maybe);
      mine.maybe = maybe;
      mine.surely = surely;
      mine.at = at;
      const uint32_t count = __reduce_add_sync(kAll, __popc(surely));
      if (block.lane == 0 && count) atomicAdd(&shared.surely, count);
#pragma unroll
      for (int value = 0; value < kValues; ++value) {
        if (maybe >> value & 1) own[at++] = block.keys[value];
      }
    });
    block.sync();
    local = true;
    kept = found.inside;
    mine.done = kResident;
    if (block.blocks > 1) {
      // Warps take turns over the blocks' buffers.
      const bool another = block.lane < block.blocks;
      const uint32_t theirs = another ? load_from(address_in(&shared.kept, block.lane)) : 0;
      const uint32_t surely = block.lane < block.rank ? load_from(address_in(&shared.surely, block.lane)) : 0;
      const uint32_t through = scan_lanes(theirs, block.lane);
      const int groups = max(1, block.kWarps / block.blocks), turns = block.kWarps / groups;
      for (int other = block.warp % turns; other < block.blocks; other += turns) {
        const uint32_t count = __shfl_sync(kAll, theirs, other);
        const uint32_t to = __shfl_sync(kAll, through, other) - count;
        const uint32_t from = address_in(own, other);
        if (block.warp / turns < groups) {
#pragma unroll 4
          for (uint32_t i = (block.warp / turns) * 32 + block.lane; i < count; i += 32 * groups) {
            all[to + i] = load_from(from + 4 * i);
          }
        }
      }
      mine.before_surely = __reduce_add_sync(kAll, surely);
      mine.before_maybe = __shfl_sync(kAll, through - theirs, block.rank);
      __syncthreads();
      if (kResident) cluster_arrive();  // nothing is read from another block any more
    }
  }
}

// Of the equal keys with `before` others before them, how many of those are taken?
__device__ __forceinline__ uint32_t taken_before(uint32_t before, const Threshold& threshold, bool last) {
  if (!last) return min(before, threshold.ties);
  const uint32_t passed = threshold.equal - threshold.ties;
  return before > passed ? before - passed : 0;
}

// Where a selected position goes to.
struct Output {
  const int32_t* table;
  int page_bits;
  int offset;

  __device__ __forceinline__ int of(int position) const {
    if (table == nullptr) return position + offset;
    const int in_page = position & ((1 << page_bits) - 1);
    return (__ldg(table + (position >> page_bits)) << page_bits) + in_page;
  }
};

template <typename Score, int kThreads, int kValues, bool kResident>
__device__ __forceinline__ void write(Block<Score, kThreads, kValues, kResident>& block, const Threshold& threshold,
                                      const Collected& mine, const uint32_t* own, const uint32_t* all,
                                      const Output& output, int32_t* out, bool last) {
  Shared& shared = block.shared;
  const int lane = block.lane, warp = block.warp;
  uint32_t above = 0, equal = 0;  // of the chunk, one bit a value
  auto judge = [&] {
    above = equal = 0;
#pragma unroll
    for (int value = 0; value < kValues; ++value) {
      if (block.keys[value] > threshold.above) above |= 1u << value;
      if (block.keys[value] == threshold.above) equal |= 1u << value;
    }
    if (threshold.ties == 0) equal = 0;
  };
  uint32_t sum_above = 0, sum_equal = 0;
  if (mine.done) {
    above = mine.surely;
    uint32_t left = mine.maybe;
    for (const uint32_t* key = own + mine.at; left; ++key) {
      const uint32_t bit = left & -left;
      left ^= bit;
      if (*key > threshold.above) above |= bit;
      if (*key == threshold.above && threshold.ties) equal |= bit;
    }
    sum_above = __popc(above);
    sum_equal = __popc(equal);
  } else {
    block.each_chunk([&] {
      judge();
      sum_above += __popc(above);
      sum_equal += __popc(equal);
    });
  }
  const uint32_t through_above = scan_lanes(sum_above, lane), through_equal = scan_lanes(sum_equal, lane);
  if (lane == 31) {
    shared.warp_sums[0][warp] = through_above;
    shared.warp_sums[1][warp] = through_equal;
  }
  if (mine.done && block.blocks > 1) {
    // Of what was collected in the blocks before.
    uint32_t theirs_above = 0, theirs_equal = 0;
    for (uint32_t i = threadIdx.x; i < mine.before_maybe; i += kThreads) {
      theirs_above += all[i] > threshold.above;
      theirs_equal += all[i] == threshold.above && threshold.ties;
    }
    theirs_above = __reduce_add_sync(kAll, theirs_above);
    theirs_equal = __reduce_add_sync(kAll, theirs_equal);
    if (lane == 0) {
      shared.warp_sums[2][warp] = theirs_above;
      shared.warp_sums[3][warp] = theirs_equal;
    }
  }
  __syncthreads();
  const uint32_t own_above = lane < block.kWarps ? shared.warp_sums[0][lane] : 0;
  const uint32_t own_equal = lane < block.kWarps ? shared.warp_sums[1][lane] : 0;
  const uint32_t warps_above = scan_lanes(own_above, lane), warps_equal = scan_lanes(own_equal, lane);
  uint32_t before_above = 0, before_equal = 0;  // of the blocks before
  if (block.blocks > 1) {
    uint32_t theirs_above = 0, theirs_equal = 0;
    if (mine.done) {
      if (lane < block.kWarps) {
        theirs_above = shared.warp_sums[2][lane];
        theirs_equal = shared.warp_sums[3][lane];
      }
      before_above = mine.before_surely;
    } else {
      if (threadIdx.x == 31) {
        shared.totals[0] = warps_above;
        shared.totals[1] = warps_equal;
      }
      block.sync();
      if (lane < block.rank) {
        theirs_above = load_from(address_in(&shared.totals[0], lane));
        theirs_equal = load_from(address_in(&shared.totals[1], lane));
      }
      cluster_arrive();  // nothing is read from another block any more
    }
    before_above += __reduce_add_sync(kAll, theirs_above);
    before_equal = __reduce_add_sync(kAll, theirs_equal);
  }
  if (kResident) {
    before_above += __shfl_sync(kAll, warps_above - own_above, warp);
    before_equal += __shfl_sync(kAll, warps_equal - own_equal, warp);
  }
  for (int chunk = 0; chunk < block.chunks; ++chunk) {
    uint32_t in_above = through_above, in_equal = through_equal;  // scanned over the lanes
    uint32_t chunk_above = 0, chunk_equal = 0;
    if (!kResident) {
      above = equal = 0;
      if (block.has_scores(chunk)) {
        block.load(chunk);
        judge();
      }
      in_above = scan_lanes(__popc(above), lane);
      in_equal = scan_lanes(__popc(equal), lane);
      __syncthreads();
      if (lane == 31) {
        shared.warp_sums[0][warp] = in_above;
        shared.warp_sums[1][warp] = in_equal;
      }
      __syncthreads();
      const uint32_t a = lane < block.kWarps ? shared.warp_sums[0][lane] : 0;
      const uint32_t e = lane < block.kWarps ? shared.warp_sums[1][lane] : 0;
      const uint32_t scanned_a = scan_lanes(a, lane), scanned_e = scan_lanes(e, lane);
      chunk_above = __shfl_sync(kAll, scanned_a, 31);
      chunk_equal = __shfl_sync(kAll, scanned_e, 31);
      before_above += __shfl_sync(kAll, scanned_a - a, warp);
      before_equal += __shfl_sync(kAll, scanned_e - e, warp);
      // Below, they are what comes before the chunk again.
      chunk_above -= __shfl_sync(kAll, scanned_a - a, warp);
      chunk_equal -= __shfl_sync(kAll, scanned_e - e, warp);
    } else if (!block.has_scores(0)) {
      break;
    }
    const uint32_t warp_equal = __shfl_sync(kAll, in_equal, 31);
    const uint32_t taken = taken_before(before_equal, threshold, last);
    const uint32_t take = taken_before(before_equal + warp_equal, threshold, last) - taken;
    uint32_t in_taken = in_equal;  // scanned over the lanes
    if (take == 0) {
      equal = 0;
      in_taken = 0;
    } else if (take < warp_equal) {
      // The last that is taken, or the first, is this warp's: go through them by position.
      uint32_t rest = 0, seen = before_equal;
#pragma unroll
      for (int i = 0; i < block.kLoads; ++i) {
        const uint32_t mine = (equal >> (i * block.kPerLoad)) & ((1u << block.kPerLoad) - 1);
        const uint32_t through = scan_lanes(__popc(mine), lane);
        uint32_t at = seen + through - __popc(mine);
#pragma unroll
        for (int j = 0; j < block.kPerLoad; ++j) {
          if (mine >> j & 1) {
            if (taken_before(at + 1, threshold, last) > taken_before(at, threshold, last)) rest |= 1u << (i * block.kPerLoad + j);
            ++at;
          }
        }
        seen += __shfl_sync(kAll, through, 31);
      }
      equal = rest;
      in_taken = scan_lanes(__popc(equal), lane);
    }
    uint32_t selected = above | equal;
    int32_t* to = out + before_above + taken + in_above + in_taken - __popc(selected);
    const int first = block.begin(chunk);
    while (selected) {
      const int value = __ffs(selected) - 1;
      selected &= selected - 1;
      *to++ = output.of(block.position(first, value));
    }
    before_above += chunk_above;
    before_equal += chunk_equal;
  }
  __syncwarp();
  if (block.blocks > 1) cluster_wait();
}

template <typename Score, int kThreads, int kValues, bool kResident>
__global__ void __launch_bounds__(kThreads, kThreads * kValues > 16384 ? 1 : 1024 / kThreads) topk_cluster_kernel(const Arguments arguments) {
  extern __shared__ __align__(16) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  uint32_t* own = reinterpret_cast<uint32_t*>(memory + sizeof(Shared));
  uint32_t* all = own + arguments.most_kept;
  const int row = blockIdx.x / cluster_size();
  const int length = arguments.lengths == nullptr ? arguments.width : min(arguments.width, __ldg(arguments.lengths + row));
  const int start = arguments.row_starts == nullptr ? 0 : __ldg(arguments.row_starts + row);
  int32_t* out = arguments.out + static_cast<int64_t>(row) * arguments.k;
  Output output{nullptr, 0, 0};
  if (arguments.page_table != nullptr) {
    output.table = arguments.page_table + __ldg(arguments.row_to_table + row) * arguments.table_stride;
    output.page_bits = arguments.page_bits;
  } else if (arguments.offsets != nullptr) {
    output.offset = __ldg(arguments.offsets + row);
  }
  if (length <= arguments.k) {
    // No choice: all, and -1 behind them.
    for (int i = cluster_rank() * kThreads + threadIdx.x; i < arguments.k; i += kThreads * cluster_size()) {
      out[i] = i < length ? output.of(i) : -1;
    }
    return;
  }
  const Score* scores = static_cast<const Score*>(arguments.scores) + row * arguments.row_stride + start;
  Block<Score, kThreads, kValues, kResident> block(shared, scores, length, arguments.width);
  if (kResident) block.load(0);
  block.clear(shared.counts[0]);
  block.clear(shared.counts[1]);
  if (threadIdx.x == 0) shared.kept = shared.surely = 0;
  __syncthreads();
  Collected mine = {};
  const Threshold threshold = find_threshold(block, own, all, arguments.k, arguments.most_kept, mine);
  write(block, threshold, mine, own, all, output, out, arguments.last_of_equals != 0);
}

struct Launch {
  const void* kernel;
  int threads;
  int values;
};

template <typename Score, int kThreads, int kValues, bool kResident>
const void* instance() {
  return reinterpret_cast<const void*>(&topk_cluster_kernel<Score, kThreads, kValues, kResident>);
}

template <typename Score, int kThreads>
const void* kernel_of(int values, bool resident) {
  if (!resident) return values == 16 ? instance<Score, kThreads, 16, false>() : nullptr;
  switch (values) {
    case 8: return instance<Score, kThreads, 8, true>();
    case 16: return instance<Score, kThreads, 16, true>();
    case 32: return instance<Score, kThreads, 32, true>();
    default: return nullptr;
  }
}

template <typename Score>
const void* kernel_of(int threads, int values, bool resident) {
  switch (threads) {
    case 256: return kernel_of<Score, 256>(values, resident);
    case 512: return kernel_of<Score, 512>(values, resident);
    case 1024: return kernel_of<Score, 1024>(values, resident);
    default: return nullptr;
  }
}

}  // namespace autotune_topk

extern "C" {

// To be called once before launches. Returns a cudaError_t, as does the launch. `bfloat16`: of the scores, else float32.
int autotune_topk_prepare(int bfloat16, int threads, int values, int resident, int cluster) {
  using namespace autotune_topk;
  const void* kernel =
      bfloat16 ? kernel_of<__nv_bfloat16>(threads, values, resident) : kernel_of<float>(threads, values, resident);
  if (kernel == nullptr) return cudaErrorInvalidValue;
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess) error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
  if (error == cudaSuccess && cluster > 8) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  }
  return error;
}

int autotune_topk_launch(const autotune_topk::Arguments* arguments, int bfloat16, int threads, int values, int resident,
                         int cluster, void* stream) {
  using namespace autotune_topk;
  const void* kernel =
      bfloat16 ? kernel_of<__nv_bfloat16>(threads, values, resident) : kernel_of<float>(threads, values, resident);
  if (kernel == nullptr) return cudaErrorInvalidValue;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(arguments->rows) * cluster);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = sizeof(Shared) + (cluster > 1 ? 2 : 1) * sizeof(uint32_t) * arguments->most_kept;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = cluster > 1 ? 1 : 0;
  void* parameters[] = {const_cast<Arguments*>(arguments)};
  return cudaLaunchKernelExC(&config, kernel, parameters);
}

const char* autotune_topk_error(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // extern "C"
