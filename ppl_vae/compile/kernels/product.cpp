// left @ weight.T + bias in float32 on processors with AVX-512, for code that Inductor generates.
//
// Small products: columns are taken 64 at a time, as four vectors, and rows 6 at a time, so that the 24 sums stay in
// registers. Where 64 columns do not lie side by side, they are first copied so. Large products, where it matters
// what fits into which cache, are oneDNN's.

#include <immintrin.h>
#include <torch/csrc/inductor/aoti_torch/c/shim_cpu.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#ifndef STABLE_TORCH_ERROR_CODE_CHECK // as torch 2.13 calls it
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>

using torch::stable::Tensor;

namespace {

typedef float Vector __attribute__((vector_size(64), aligned(4), may_alias));
constexpr int WIDTH = 16, VECTORS = 4, COLUMNS = WIDTH * VECTORS, ROWS = 6;
constexpr int64_t LARGE = 8'000'000;  // operations, two per multiplication

struct Matrix {
  const float* data;
  int64_t row, column;  // strides
};

template <int S>
constexpr std::array<int, 2 * WIDTH> exchanged() {
  std::array<int, 2 * WIDTH> from{};
  for (int j = 0; j < WIDTH; j++) {
    from[j] = j & S ? WIDTH + j - S : j;
    from[WIDTH + j] = j & S ? WIDTH + j : j + S;
  }
  return from;
}

// exchange blocks of S numbers between vectors that are S apart
template <int S>
void exchange(Vector* v) {
  static constexpr auto from = exchanged<S>();
  __m512i low = _mm512_loadu_si512(&from[0]), high = _mm512_loadu_si512(&from[WIDTH]);
#pragma GCC unroll 16
  for (int r = 0; r < WIDTH; r++)
    if (!(r & S)) {
      Vector x = v[r], y = v[r + S];
      v[r] = _mm512_permutex2var_ps(x, low, y);
      v[r + S] = _mm512_permutex2var_ps(x, high, y);
    }
}

void transpose(Vector* v) {
  exchange<1>(v);
  exchange<2>(v);
  exchange<4>(v);
  exchange<8>(v);
}

// `count` columns side by side, and zeros up to COLUMNS
void pack(Matrix b, int64_t rows, int count, float* packed) {
  int64_t k = 0;
  if (b.row == 1 && count == COLUMNS) {
    for (; k + WIDTH <= rows; k += WIDTH)
      for (int c = 0; c < COLUMNS; c += WIDTH) {
        Vector v[WIDTH];
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++) v[i] = *(const Vector*)(b.data + k + (c + i) * b.column);
        transpose(v);
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++) *(Vector*)(packed + (k + i) * COLUMNS + c) = v[i];
      }
  }
  for (; k < rows; k++)
    for (int c = 0; c < COLUMNS; c++) packed[k * COLUMNS + c] = c < count ? b.data[k * b.row + c * b.column] : 0;
}

// R rows of `a` times COLUMNS columns that lie side by side, added to `sums`
template <int R>
void tile(Matrix a, const float* b, int64_t stride, int64_t inner, Vector (*sums)[VECTORS]) {
  __m512 s[R][VECTORS];  // in registers: every loop over it is unrolled
#pragma GCC unroll 6
  for (int i = 0; i < R; i++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) s[i][j] = sums[i][j];
  for (int64_t k = 0; k < inner; k++, b += stride, a.data += a.column) {
    Vector x[VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) x[j] = ((const Vector*)b)[j];
#pragma GCC unroll 6
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; j++) s[i][j] = _mm512_fmadd_ps(_mm512_set1_ps(a.data[i * a.row]), x[j], s[i][j]);
  }
#pragma GCC unroll 6
  for (int i = 0; i < R; i++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) sums[i][j] = s[i][j];
}

constexpr decltype(&tile<1>) TILES[] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

void multiply(int64_t rows, int64_t columns, int64_t inner, Matrix a, Matrix b, const float* bias, float* result) {
  std::unique_ptr<float, decltype(&free)> packed(
      static_cast<float*>(aligned_alloc(64, sizeof(float) * COLUMNS * (inner + 1))), free);
  STD_TORCH_CHECK(packed, "out of memory");
  for (int64_t n = 0; n < columns; n += COLUMNS) {
    int count = columns - n < COLUMNS ? columns - n : COLUMNS;
    Matrix panel = {b.data + n * b.column, b.row, b.column};
    if (b.column != 1 || count < COLUMNS) {
      pack(panel, inner, count, packed.get());
      panel = {packed.get(), COLUMNS, 1};
    }
    float start[COLUMNS] = {0};
    if (bias) memcpy(start, bias + n, sizeof(float) * count);
    for (int64_t m = 0; m < rows; m += ROWS) {
      int height = rows - m < ROWS ? rows - m : ROWS;
      Vector sums[ROWS][VECTORS];
      for (int i = 0; i < height; i++) memcpy(sums[i], start, sizeof start);
      TILES[height]({a.data + m * a.row, a.row, a.column}, panel.data, panel.row, inner, sums);
      for (int i = 0; i < height; i++) memcpy(result + (m + i) * columns + n, sums[i], sizeof(float) * count);
    }
  }
}

Tensor product(Tensor left, Tensor weight, std::optional<Tensor> bias) {
  int64_t rows = left.size(0), inner = left.size(1), columns = weight.size(0);
  STD_TORCH_CHECK(!bias || (bias->size(0) == columns && bias->stride(0) == 1), "a bias of other columns");
  if (2 * rows * inner * columns >= LARGE) {
    AtenTensorHandle added = bias ? bias->get() : nullptr, result;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__linear_pointwise(
        left.get(), weight.get(), bias ? &added : nullptr, "none", nullptr, 0, nullptr, &result));
    return Tensor(result);
  }
  Tensor result = torch::stable::new_empty(left, {rows, columns});
  Matrix a = {static_cast<float*>(left.data_ptr()), left.stride(0), left.stride(1)};
  Matrix b = {static_cast<float*>(weight.data_ptr()), weight.stride(1), weight.stride(0)};
  multiply(rows, columns, inner, a, b, bias ? static_cast<float*>(bias->data_ptr()) : nullptr,
           static_cast<float*>(result.data_ptr()));
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ppl_vae, library) {
  library.def("product(Tensor left, Tensor weight, Tensor? bias) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(ppl_vae, CPU, library) { library.impl("product", TORCH_BOX(&product)); }
