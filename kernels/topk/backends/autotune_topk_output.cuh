// The selected positions of a block, behind those of the blocks before it.

#pragma once

#include "autotune_topk_search.cuh"

namespace autotune_topk {

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

// Of what was collected in the blocks before: keys above the threshold and at it, in rows 2 and 3 of warp_sums, by warp.
template <typename Block>
__device__ __forceinline__ void count_before(Block& block, const Threshold& threshold, const Collected& mine,
                                             const Buffers& buffers) {
  uint32_t above = 0, equal = 0;
  for (uint32_t i = threadIdx.x; i < mine.before_maybe; i += Block::kThreads) {
    above += buffers.all[i] > threshold.above;
    equal += buffers.all[i] == threshold.above && threshold.ties;
  }
  above = __reduce_add_sync(kAll, above);
  equal = __reduce_add_sync(kAll, equal);
  if (block.lane == 0) {
    block.shared.warp_sums[2][block.warp] = above;
    block.shared.warp_sums[3][block.warp] = equal;
  }
}

// Write what a block selects where its threads hold the keys, or read them once more.
template <typename Block>
__device__ __forceinline__ void write(Block& block, const Threshold& threshold, const Collected& mine,
                                      const Buffers& buffers, const Output& output, int32_t* out, bool last) {
  constexpr bool kResident = Block::kResident;
  constexpr int kValues = Block::kValues;
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
    for (const uint32_t* key = buffers.own + mine.at; left; ++key) {
      const uint32_t bit = left & -left;
      left ^= bit;
      if (*key > threshold.above) above |= bit;
      if (*key == threshold.above && threshold.ties) equal |= bit;
    }
    sum_above = __popc(above);
    sum_equal = __popc(equal);
  } else {
    block.each_chunk([&](int) {
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
    cluster_arrive();  // nothing is read from another block any more; waited for at the end
    count_before(block, threshold, mine, buffers);
  }
  __syncthreads();
  const uint32_t own_above = lane < Block::kWarps ? shared.warp_sums[0][lane] : 0;
  const uint32_t own_equal = lane < Block::kWarps ? shared.warp_sums[1][lane] : 0;
  const uint32_t warps_above = scan_lanes(own_above, lane), warps_equal = scan_lanes(own_equal, lane);
  uint32_t before_above = 0, before_equal = 0;  // of the blocks before
  if (block.blocks > 1) {
    uint32_t theirs_above = 0, theirs_equal = 0;
    if (mine.done) {
      if (lane < Block::kWarps) {
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
      const uint32_t a = lane < Block::kWarps ? shared.warp_sums[0][lane] : 0;
      const uint32_t e = lane < Block::kWarps ? shared.warp_sums[1][lane] : 0;
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
      for (int i = 0; i < Block::kLoads; ++i) {
        const uint32_t these = (equal >> (i * Block::kPerLoad)) & ((1u << Block::kPerLoad) - 1);
        const uint32_t through = scan_lanes(__popc(these), lane);
        uint32_t at = seen + through - __popc(these);
#pragma unroll
        for (int j = 0; j < Block::kPerLoad; ++j) {
          if (these >> j & 1) {
            const bool taken = taken_before(at + 1, threshold, last) > taken_before(at, threshold, last);
            if (taken) rest |= 1u << (i * Block::kPerLoad + j);
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

// To be called some barriers before write_collected.
template <typename Block>
__device__ __forceinline__ void clear_bits(Block& block, const Buffers& buffers) {
  const int words = block.chunks * (Block::kChunk / 32);
  for (int i = threadIdx.x; i < words; i += Block::kThreads) buffers.bits[i] = 0;
}

// Write what a block selects where all that may be selected is in its buffer with its positions: a bit for each of the
// block's scores makes of the buffer, which has no order, positions in order.
template <typename Block>
__device__ __forceinline__ void write_collected(Block& block, const Threshold& threshold, const Collected& mine,
                                                const Buffers& buffers, const Output& output, int32_t* out, bool last) {
  Shared& shared = block.shared;
  const int begin = block.block_begin();
  const int words = block.chunks * (Block::kChunk / 32);
  const int each = (words + Block::kThreads - 1) / Block::kThreads;
  uint32_t* own = buffers.bits + threadIdx.x * each;
  const int own_words = max(0, min(each, words - static_cast<int>(threadIdx.x) * each));
  if (block.blocks > 1) {
    cluster_arrive();  // nothing is read from another block any more; waited for at the end
    count_before(block, threshold, mine, buffers);
    __syncthreads();
  }
  uint32_t before_above = 0, before_equal = 0;  // of the blocks before
  if (block.blocks > 1) {
    const bool counted = block.lane < Block::kWarps;
    before_above = __reduce_add_sync(kAll, counted ? shared.warp_sums[2][block.lane] : 0);
    before_equal = __reduce_add_sync(kAll, counted ? shared.warp_sums[3][block.lane] : 0);
  }
  const uint32_t taken = taken_before(before_equal, threshold, last);
  const uint2* entries = reinterpret_cast<const uint2*>(buffers.own);
  auto set = [&](uint32_t position) {
    const uint32_t at = position - begin;
    atomicOr(buffers.bits + at / 32, 1u << (at % 32));
  };
  auto count_bits = [&] {
    uint32_t count = 0;
    for (int i = 0; i < own_words; ++i) count += __popc(own[i]);
    return count;
  };
  uint32_t total;
  const bool all_equal = threshold.ties == threshold.equal;
  if (!all_equal) {
    // Of the equal ones some: take away the bits of the others.
    for (uint32_t i = threadIdx.x; i < mine.entries; i += Block::kThreads) {
      if (entries[i].x == threshold.above) set(entries[i].y);
    }
    __syncthreads();
    uint32_t at = before_equal + block.scan_threads(count_bits(), shared.warp_sums[0], total);
    for (int i = 0; i < own_words; ++i) {
      for (uint32_t left = own[i]; left; left &= left - 1, ++at) {
        if (taken_before(at + 1, threshold, last) == taken_before(at, threshold, last)) own[i] ^= left & -left;
      }
    }
    __syncthreads();
  }
  for (uint32_t i = threadIdx.x; i < mine.entries; i += Block::kThreads) {
    const uint2 entry = entries[i];
    if (entry.x > threshold.above || (all_equal && threshold.ties && entry.x == threshold.above)) set(entry.y);
  }
  __syncthreads();
  int32_t* to = out + before_above + taken + block.scan_threads(count_bits(), shared.warp_sums[1], total);
  for (int i = 0; i < own_words; ++i) {
    for (uint32_t left = own[i]; left; left &= left - 1) {
      *to++ = output.of(begin + 32 * (static_cast<int>(threadIdx.x) * each + i) + __ffs(left) - 1);
    }
  }
  __syncwarp();
  if (block.blocks > 1) cluster_wait();
}

}  // namespace autotune_topk
