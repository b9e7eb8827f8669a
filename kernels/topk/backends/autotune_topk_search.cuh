// The k-th largest key of a row.
//
// First by a bound that a sample of the row says to lie a little below it: the keys from there on, some more than k, are
// collected, and the k-th largest of them is that of the row, if there are k of them and if no block had a larger
// bound. Which that is depends on the scores alone, so a bad sample costs time and never an answer. Then, or where k is
// much of the row, digit by digit over all keys, until few enough have the digits found so far and are collected.
// Of what was collected each block takes a copy of all blocks', and finds the rest by itself.

#pragma once

#include "autotune_topk_block.cuh"

namespace autotune_topk {

// Keys above `above` are selected, and `ties` of the `equal` ones that are `above` itself (none if ties is 0).
struct Threshold {
  uint32_t above;
  uint32_t ties;
  uint32_t equal;
};

// Where keys are collected.
struct Buffers {
  uint32_t* own;   // entries of the own block
  uint32_t* all;   // keys of all blocks, in a cluster of several
  uint32_t* bits;  // one for each of the block's scores, where threads don't hold them
  uint32_t most;   // entries that fit
};

// What is known of a block's keys once those that may be selected were collected. Masks have one bit a value.
struct Collected {
  bool done;               // all of the own block's that may be selected are in `own`, or in `surely`
  uint32_t surely;         // the thread's keys above those in the buffer
  uint32_t maybe;          // the thread's keys in the buffer
  uint32_t at;             // where they are, in order
  uint32_t entries;        // of the own buffer
  uint32_t before_surely;  // of the blocks before the own one
  uint32_t before_maybe;   // likewise: the first in the buffer of all
};

// Standard deviations by which a sample's bound lies below what it says of the k-th largest.
constexpr float kMargin = 5.0f;
// A sample is worth it where at most one of so many scores is selected.
constexpr int kSelective = 4;

// Put the keys from `low` to `high` into the own buffers; what doesn't fit is counted only.
template <typename Block>
__device__ __forceinline__ void collect(Block& block, uint32_t low, uint32_t high, const Buffers& buffers,
                                        Collected& mine) {
  Shared& shared = block.shared;
  uint32_t top = 0;
  block.each_chunk([&](int chunk) {
    uint32_t maybe = 0, surely = 0;
#pragma unroll
    for (int value = 0; value < Block::kValues; ++value) {
      if (block.keys[value] >= low) maybe |= 1u << value;
      top = max(top, block.keys[value]);
    }
    if (high != kAll) {
#pragma unroll
      for (int value = 0; value < Block::kValues; ++value) {
        if (block.keys[value] > high) surely |= 1u << value;
      }
      maybe ^= surely;
      const uint32_t count = __reduce_add_sync(kAll, __popc(surely));
      if (block.lane == 0 && count) atomicAdd(&shared.surely, count);
    }
    const uint32_t through = scan_lanes(__popc(maybe), block.lane);
    uint32_t at = 0;
    if (block.lane == 31 && through) at = atomicAdd(&shared.kept, through);
    at = __shfl_sync(kAll, at, 31) + through - __popc(maybe);
    mine.maybe = maybe;
    mine.surely = surely;
    mine.at = at;
    if (at + __popc(maybe) > buffers.most) return;
    const int first = block.begin(chunk);
#pragma unroll
    for (int value = 0; value < Block::kValues; ++value) {
      if (!(maybe >> value & 1)) continue;
      if (Block::kResident) {
        buffers.own[at] = block.keys[value];
      } else {
        reinterpret_cast<uint2*>(buffers.own)[at] = make_uint2(block.keys[value], block.position(first, value));
      }
      ++at;
    }
  });
  top = __reduce_max_sync(kAll, top);
  if (block.lane == 0 && top) atomicMax(&shared.top, top);
}

// After all blocks have collected: copy the keys of all of them, in the order of the blocks. Returns how many there are,
// or more than fit. `bound` and `top` become the largest of the blocks'.
template <typename Block>
__device__ __forceinline__ uint32_t gather(Block& block, const Buffers& buffers, Collected& mine, uint32_t& bound,
                                           uint32_t& top) {
  Shared& shared = block.shared;
  if (block.blocks == 1) {
    top = shared.top;
    mine.entries = shared.kept;
    return mine.entries;
  }
  const bool another = block.lane < block.blocks;
  const uint32_t theirs = another ? load_from(address_in(&shared.kept, block.lane)) : 0;
  const uint32_t surely = block.lane < block.rank ? load_from(address_in(&shared.surely, block.lane)) : 0;
  bound = __reduce_max_sync(kAll, another ? load_from(address_in(&shared.bound, block.lane)) : 0);
  top = __reduce_max_sync(kAll, another ? load_from(address_in(&shared.top, block.lane)) : 0);
  const uint32_t through = scan_lanes(theirs, block.lane);
  const uint32_t count_all = __shfl_sync(kAll, through, 31);
  mine.entries = __shfl_sync(kAll, theirs, block.rank);
  mine.before_surely = __reduce_add_sync(kAll, surely);
  mine.before_maybe = __shfl_sync(kAll, through - theirs, block.rank);
  if (count_all > buffers.most) return count_all;
  // Warps take turns over the blocks.
  const int teams = max(1, Block::kWarps / block.blocks), turns = Block::kWarps / teams;
  for (int other = block.warp % turns; other < block.blocks; other += turns) {
    const uint32_t count = __shfl_sync(kAll, theirs, other);
    const uint32_t to = __shfl_sync(kAll, through, other) - count;
    const uint32_t from = address_in(buffers.own, other);
    if (block.warp / turns < teams) {
#pragma unroll 4
      for (uint32_t i = (block.warp / turns) * 32 + block.lane; i < count; i += 32 * teams) {
        buffers.all[to + i] = load_from(from + 4 * Block::kEntry * i);
      }
    }
  }
  __syncthreads();
  return count_all;
}

// The needed-th largest of collected keys that are less than 2^over above `base`, by digits from a level on. Those below
// `base` don't count. False: so many are not among them.
template <typename Block>
__device__ __forceinline__ bool refine(Block& block, const Buffers& buffers, uint32_t count, uint32_t base, int over,
                                       uint32_t needed, int level, Threshold& threshold) {
  Shared& shared = block.shared;
  const uint32_t* list = block.blocks > 1 ? buffers.all : buffers.own;
  const int step = block.blocks > 1 ? 1 : Block::kEntry;
  uint32_t prefix = 0;
  while (true) {
    const int bits = over < kDigitBits ? over : kDigitBits, shift = over - bits;
    uint32_t* counts = shared.counts[level & 1];
    uint32_t* groups = shared.groups[level & 1];
    const uint32_t mask = (1u << bits) - 1;
    for (uint32_t i = threadIdx.x; i < count; i += Block::kThreads) {
      const uint32_t key = list[step * i], above = key - base;
      if (key >= base && (over >= 32 || (above >> over) == prefix)) atomicAdd(counts + ((above >> shift) & mask), 1u);
    }
    __syncthreads();
    block.group(counts, groups);
    __syncthreads();
    const Found found = block.pick(counts, groups, 1, [&](uint32_t) { return needed; });
    if (found.inside == 0) return false;
    // The level before has been read; the next one takes its place.
    if (level > 0) block.clear(shared.counts[(level + 1) & 1]);
    prefix = (prefix << bits) | found.digit;
    needed -= found.above;
    ++level;
    // All that have these digits are above everything that has smaller ones.
    if (found.inside == needed) {
      threshold = {base + (prefix << shift) - 1, 0, 0};
      return true;
    }
    if (shift == 0) {
      threshold = {base + prefix, needed, found.inside};
      return true;
    }
    if (found.inside <= 32) break;
    if (level > 1) __syncthreads();  // what was cleared
    over = shift;
  }
  // As many as a warp has lanes: each warp compares each with each.
  over = over < kDigitBits ? 0 : over - kDigitBits;
  for (uint32_t i = threadIdx.x; i < count; i += Block::kThreads) {
    const uint32_t key = list[step * i];
    if (key >= base && ((key - base) >> over) == prefix) shared.rest[atomicAdd(&shared.few, 1u)] = key;
  }
  __syncthreads();
  const int few = shared.few;
  const uint32_t own = block.lane < few ? shared.rest[block.lane] : kNone;
  uint32_t larger = 0, equal = 0;
  for (int other = 0; other < few; ++other) {
    const uint32_t key = __shfl_sync(kAll, own, other);
    larger += key > own;
    equal += key == own;
  }
  const bool hit = block.lane < few && larger < needed && needed <= larger + equal;
  const int at = __ffs(__ballot_sync(kAll, hit)) - 1;
  larger = __shfl_sync(kAll, larger, at);
  threshold = {__shfl_sync(kAll, own, at), needed - larger, __shfl_sync(kAll, equal, at)};
  return true;
}

// By a sample. False: it was a bad one; everything is as it was before.
template <typename Block>
__device__ __forceinline__ bool search_sampled(Block& block, const Buffers& buffers, uint32_t k, Collected& mine,
                                               Threshold& threshold) {
  Shared& shared = block.shared;
  constexpr int kShift = Keys<typename Block::Score>::kBits - kDigitBits;
  uint32_t* counts = shared.counts[1];
  block.each_drawn([&](uint32_t key) { atomicAdd(counts + (key >> kShift), 1u); });
  __syncthreads();
  block.group(counts, shared.groups[1]);
  __syncthreads();
  const float share = static_cast<float>(k) / static_cast<float>(block.length);
  uint32_t rank = 0;
  const Found found = block.pick(counts, shared.groups[1], 1, [&](uint32_t sampled) {
    const float expected = share * static_cast<float>(sampled);
    return rank = static_cast<uint32_t>(expected + kMargin * sqrtf(expected)) + 4;
  });
  // Within a bin keys are taken to lie evenly. Without so many in the sample, all are collected.
  uint32_t bound = kNone + 1;
  if (found.inside) {
    const float below = static_cast<float>(found.above + found.inside - rank) / static_cast<float>(found.inside);
    bound = max(bound, (found.digit << kShift) + static_cast<uint32_t>(below * (1 << kShift)));
  }
  if (threadIdx.x == 0) shared.bound = bound;
  collect(block, bound, kAll, buffers, mine);
  block.sync();
  block.clear(counts);
  uint32_t top;
  const uint32_t count = gather(block, buffers, mine, bound, top);
  if (count >= k && count <= buffers.most && top >= bound &&
      refine(block, buffers, count, bound, max(1, 32 - __clz(top - bound)), k, 0, threshold)) {
    mine.done = true;
    return true;
  }
  block.sync();  // nobody reads the counts or another block's any more
  block.clear(shared.counts[0]);
  block.clear(shared.counts[1]);
  if (threadIdx.x == 0) shared.kept = shared.top = 0;
  mine = {};
  __syncthreads();
  return false;
}

// By the digits of all keys.
template <typename Block>
__device__ __forceinline__ Threshold search_all(Block& block, const Buffers& buffers, uint32_t k, Collected& mine) {
  Shared& shared = block.shared;
  uint32_t prefix = 0, needed = k;
  int over = Keys<typename Block::Score>::kBits, level = 0;
  while (true) {
    const int bits = over < kDigitBits ? over : kDigitBits, shift = over - bits;
    uint32_t* counts = shared.counts[level & 1];
    uint32_t* groups = shared.groups[level & 1];
    const uint32_t mask = (1u << bits) - 1;
    block.each_chunk([&](int) {
#pragma unroll
      for (int value = 0; value < Block::kValues; ++value) {
        const uint32_t key = block.keys[value];
        if (level == 0 || (key >> over) == prefix) atomicAdd(counts + ((key >> shift) & mask), 1u);
      }
    });
    __syncthreads();
    block.group(counts, groups);
    block.sync();
    Found found;
    if (block.blocks == 1) {
      found = block.pick(counts, groups, 1, [&](uint32_t) { return needed; });
    } else {
      if (block.warp == 0) {
        found = block.pick(counts, groups, block.blocks, [&](uint32_t) { return needed; });
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
    if (found.inside == needed) return {(prefix << shift) - 1, 0, 0};
    if (shift == 0) return {prefix, needed, found.inside};
    over = shift;
    if (found.inside > buffers.most) {
      if (level > 1) __syncthreads();  // what was cleared
      continue;
    }
    const uint32_t low = prefix << shift;
    collect(block, low, low + ((1u << shift) - 1), buffers, mine);
    if (threadIdx.x == 0) shared.bound = 0;
    block.sync();
    mine.done = Block::kResident;
    uint32_t bound = 0, top;
    const uint32_t count = gather(block, buffers, mine, bound, top);
    Threshold threshold;
    refine(block, buffers, count, low, over, needed, level, threshold);
    return threshold;
  }
}

template <typename Block>
__device__ __forceinline__ bool may_sample(const Block& block, uint32_t k) {
  return Block::kValues >= 16 && k <= static_cast<uint32_t>(block.length) / kSelective;
}

// The threshold, and what is known of the own keys. In a cluster all blocks come to the same one.
template <typename Block>
__device__ __forceinline__ Threshold search(Block& block, const Buffers& buffers, uint32_t k, Collected& mine) {
  Threshold threshold;
  if (may_sample(block, k) && search_sampled(block, buffers, k, mine, threshold)) return threshold;
  return search_all(block, buffers, k, mine);
}

}  // namespace autotune_topk
