// Exact top-k of rows of scores: radix selection on rows that are read once and stay in the registers of a cluster.
//
// A row is shared out among the blocks of a cluster, a block's part among its warps, in order: a warp holds consecutive
// scores, so that the order of warps is the order of positions. Scores become unsigned keys of the same order, in which
// -0.0 is 0.0 and NaN is above all. The k-th largest key is found digit by digit: each block counts its keys by their
// digit in shared memory, and reads the counts of the others through the cluster's shared memory. As soon as few enough
// keys have the digits found so far, each block takes a copy of all of them and finds the rest by itself. Where k is small
// beside the row, all but those few keys are ruled out by a bound from a sample (autotune_topk_search.cuh).
// Then blocks know how many keys above and at the threshold the ones before them hold, and write their own indices.
//
// Nothing depends on the order in which threads run, so equal inputs give equal bits. The grid depends on rows, width
// and knobs only; lengths are read here.

#include "autotune_topk_output.cuh"

namespace autotune_topk {

// The layout of autotune_topk.py's Arguments.
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
  int32_t most_kept;              // entries that a block's buffer holds
};

template <typename Score, int kThreads, int kValues, bool kResident>
__global__ void __launch_bounds__(kThreads, kThreads * kValues > 16384 ? 1 : 1024 / kThreads)
    topk_rows_kernel(const Arguments arguments) {
  using Part = Block<Score, kThreads, kValues, kResident>;
  extern __shared__ __align__(16) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  Buffers buffers;
  buffers.most = arguments.most_kept;
  buffers.own = reinterpret_cast<uint32_t*>(memory + sizeof(Shared));
  buffers.all = buffers.own + Part::kEntry * buffers.most;
  buffers.bits = buffers.all + (cluster_size() > 1 ? buffers.most : 0);
  const int row = blockIdx.x / cluster_size();
  const int width = arguments.width;
  const int length = arguments.lengths == nullptr ? width : min(width, __ldg(arguments.lengths + row));
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
  Part block(shared, scores, length, width);
  if (kResident) {
    block.load(0);
  } else if (may_sample(block, arguments.k)) {
    block.draw();
    clear_bits(block, buffers);
  }
  block.clear(shared.counts[0]);
  block.clear(shared.counts[1]);
  if (threadIdx.x == 0) shared.kept = shared.surely = shared.top = shared.few = 0;
  __syncthreads();
  Collected mine = {};
  const Threshold threshold = search(block, buffers, arguments.k, mine);
  const bool last = arguments.last_of_equals != 0;
  if (!kResident && mine.done) {
    write_collected(block, threshold, mine, buffers, output, out, last);
  } else {
    write(block, threshold, mine, buffers, output, out, last);
  }
}

template <typename Score, int kThreads, int kValues, bool kResident>
const void* instance() {
  return reinterpret_cast<const void*>(&topk_rows_kernel<Score, kThreads, kValues, kResident>);
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

// Dynamic shared memory of a block, as the kernel divides it up.
size_t bytes_of(const Arguments& arguments, int threads, int values, int resident, int cluster) {
  const size_t words = (resident ? 1 : 2) + (cluster > 1 ? 1 : 0);
  const int chunk = threads * values, chunks = (arguments.width + chunk * cluster - 1) / (chunk * cluster);
  const size_t bits = resident ? 0 : static_cast<size_t>(chunks) * chunk / 8;
  return sizeof(Shared) + words * sizeof(uint32_t) * arguments.most_kept + bits;
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
  config.dynamicSmemBytes = bytes_of(*arguments, threads, values, resident, cluster);
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = cluster > 1 ? 1 : 0;
  void* parameters[] = {const_cast<Arguments*>(arguments)};
  return cudaLaunchKernelExC(&config, kernel, parameters);
}

const char* autotune_topk_error(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // extern "C"
