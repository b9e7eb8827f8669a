// A block's part of a row: its scores, in registers or read anew for each pass, and counts of their digits.

#pragma once

#include "autotune_topk_keys.cuh"

namespace autotune_topk {

constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;
constexpr int kGroups = kBins / 32;

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
  uint32_t bound;      // the least key that is put into the own buffer
  uint32_t top;        // the largest of the own buffer
  uint32_t few;        // keys in `rest`
  uint32_t rest[32];
  Found found;
};

template <typename Score_, int kThreads_, int kValues_, bool kResident_>
struct Block {
  using Score = Score_;
  static constexpr int kThreads = kThreads_;
  static constexpr int kValues = kValues_;
  static constexpr bool kResident = kResident_;
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kChunk = kThreads * kValues;
  static constexpr int kPerLoad = Keys<Score>::kPerLoad;
  static constexpr int kLoads = kValues / kPerLoad;
  static constexpr int kBinsEach = kBins / kThreads;
  // Words of an entry in the own buffer: a key, and its position unless a thread can tell by itself.
  static constexpr int kEntry = kResident ? 1 : 2;
  // A thread's loads of the sample, where it doesn't hold the row: one for up to so many chunks, else two.
  static constexpr int kSampleLoads = 2;
  static constexpr int kFewChunks = 8;
  // Is the next chunk on its way while one is looked at? Where few other warps are there to fill the time.
  static constexpr bool kAhead = kThreads == 1024;
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
  uint32_t sampled[kResident ? 1 : kSampleLoads * kPerLoad];

  __device__ Block(Shared& memory, const Score* scores, int valid, int width)
      : shared(memory),
        row(scores),
        length(valid),
        aligned((reinterpret_cast<uintptr_t>(scores) & 15) == 0),
        chunks(kResident ? 1 : (width + kChunk * blocks - 1) / (kChunk * blocks)) {}

  // Where the block's scores begin, and how many there are.
  __device__ __forceinline__ int block_begin() const { return rank * chunks * kChunk; }
  __device__ __forceinline__ int block_count() const { return max(0, min(length - block_begin(), chunks * kChunk)); }

  // Where the warp's scores of a chunk begin in the row.
  __device__ __forceinline__ int begin(int chunk) const {
    return ((rank * chunks + chunk) * kWarps + warp) * (32 * kValues);
  }

  __device__ __forceinline__ int position(int first, int value) const {
    return first + (value / kPerLoad) * (32 * kPerLoad) + lane * kPerLoad + value % kPerLoad;
  }

  __device__ __forceinline__ bool has_scores(int chunk) const { return begin(chunk) < length; }

  // Can the warp's scores of a chunk be loaded 16 bytes at a time?
  __device__ __forceinline__ bool is_whole(int chunk) const { return aligned && begin(chunk) + 32 * kValues <= length; }

  __device__ __forceinline__ void fetch(int chunk, uint4* loaded) const {
    const uint4* from = reinterpret_cast<const uint4*>(row + begin(chunk)) + lane;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) loaded[i] = __ldg(from + 32 * i);
  }

  __device__ __forceinline__ void unpack(const uint4* loaded) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) Keys<Score>::unpack(loaded[i], keys + i * kPerLoad);
  }

  __device__ __forceinline__ void load_singly(int chunk) {
    const int first = begin(chunk);
#pragma unroll
    for (int value = 0; value < kValues; ++value) {
      const int at = position(first, value);
      keys[value] = at < length ? Keys<Score>::of(row[at]) : kNone;
    }
  }

  __device__ __forceinline__ void load(int chunk) {
    if (is_whole(chunk)) {
      uint4 loaded[kLoads];
      fetch(chunk, loaded);
      unpack(loaded);
    } else {
      load_singly(chunk);
    }
  }

  // Calls `each(chunk)` with the chunk's keys at hand, in warps that have some.
  template <typename Each>
  __device__ __forceinline__ void each_chunk(Each each) {
    if (kResident) {
      if (has_scores(0)) each(0);
      return;
    }
    if (!kAhead) {
      for (int chunk = 0; chunk < chunks && has_scores(chunk); ++chunk) {
        load(chunk);
        each(chunk);
      }
      return;
    }
    uint4 next[kLoads];
    bool whole = is_whole(0);
    if (whole) fetch(0, next);
    for (int chunk = 0; chunk < chunks && has_scores(chunk); ++chunk) {
      if (whole) {
        unpack(next);
      } else {
        load_singly(chunk);
      }
      whole = chunk + 1 < chunks && is_whole(chunk + 1);
      if (whole) fetch(chunk + 1, next);
      each(chunk);
    }
  }

  __device__ __forceinline__ int sample_loads() const { return chunks > kFewChunks ? kSampleLoads : 1; }

  // Load some of the block's keys from all over its part, 64 bytes at a place, as that is what the memory gives at a
  // time. Where threads hold the row, the first ones of each are the sample.
  __device__ __forceinline__ void draw() {
    if (kResident) return;
    constexpr unsigned kTeam = 4;
    const int loads = sample_loads();
    const unsigned count = block_count(), teams = loads * (kThreads / kTeam);
#pragma unroll
    for (int i = 0; i < kSampleLoads; ++i) {
      if (i >= loads) break;
      const unsigned team = i * (kThreads / kTeam) + threadIdx.x / kTeam;
      const unsigned within = static_cast<uint64_t>(team) * count / teams / (kTeam * kPerLoad) * kTeam;
      const int at = block_begin() + static_cast<int>((within + threadIdx.x % kTeam) * kPerLoad);
      if (aligned && at + kPerLoad <= length) {
        Keys<Score>::unpack(__ldg(reinterpret_cast<const uint4*>(row + at)), sampled + i * kPerLoad);
      } else {
#pragma unroll
        for (int j = 0; j < kPerLoad; ++j) {
          sampled[i * kPerLoad + j] = at + j < length ? Keys<Score>::of(row[at + j]) : kNone;
        }
      }
    }
  }

  template <typename Each>
  __device__ __forceinline__ void each_drawn(Each each) {
    constexpr int kDrawn = kResident ? kPerLoad : kSampleLoads * kPerLoad;
#pragma unroll
    for (int i = 0; i < kDrawn; ++i) {
      if (!kResident && i >= kPerLoad * sample_loads()) break;
      const uint32_t key = kResident ? keys[i] : sampled[kResident ? 0 : i];
      if (key != kNone) each(key);
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

  // The bin of the needed-th largest key, by counts of the own block or of all of them. By one warp. Where that many
  // were not counted, none is inside. `rank_of` makes of the number of all that were counted which one is needed.
  template <typename RankOf>
  __device__ __forceinline__ Found pick(const uint32_t* counts, const uint32_t* groups, int of_blocks, RankOf rank_of) {
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
    const uint32_t needed = rank_of(__shfl_sync(kAll, through, 31));
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
    return {static_cast<uint32_t>(32 * chosen + 31 - hit), __shfl_sync(kAll, before, hit),
            __shfl_sync(kAll, count, hit)};
  }

  __device__ __forceinline__ void clear(uint32_t* counts) {
    for (int i = threadIdx.x; i < kBins / 4; i += kThreads) reinterpret_cast<uint4*>(counts)[i] = make_uint4(0, 0, 0, 0);
  }

  // All threads of the cluster.
  __device__ __forceinline__ void sync() {
    if (blocks > 1) {
      cluster_arrive();
      cluster_wait();
    } else {
      __syncthreads();
    }
  }

  // Sum over the threads before the own one; `total` is that of all. Uses a row of warp_sums.
  __device__ __forceinline__ uint32_t scan_threads(uint32_t value, uint32_t* sums, uint32_t& total) {
    const uint32_t through = scan_lanes(value, lane);
    if (lane == 31) sums[warp] = through;
    __syncthreads();
    const uint32_t each = lane < kWarps ? sums[lane] : 0;
    const uint32_t scanned = scan_lanes(each, lane);
    total = __shfl_sync(kAll, scanned, 31);
    return __shfl_sync(kAll, scanned - each, warp) + through - value;
  }
};

}  // namespace autotune_topk
