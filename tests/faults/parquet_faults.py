"""The faults of Parquet files, by their numbers, and the tests that inject them."""

from __future__ import annotations

from faults.entry import Entry

PARQUET, LIES, FORMATS = (
    "formats/parquet/test_parquet_faults.py::",
    "formats/parquet/test_parquet_lies.py::",
    "formats/test_format_mutations.py::",
)
SWEEP = "faults/test_sweep.py::"
DRIFT = PARQUET + "test_files_of_one_source_agree_or_are_refused"
MUTATED = FORMATS + "test_changed_bytes_give_the_same_records_or_an_error"

PARQUET_FAULTS: dict[str, Entry] = {
    "E1": Entry(
        "not Parquet, empty, cut",
        (
            PARQUET + "test_a_file_that_is_cut_short_says_so",
            FORMATS + "test_a_file_cut_at_any_percent_is_refused",
            "formats/test_open.py::test_a_file_is_named_for_its_content_whatever_its_name",
            "formats/test_open.py::test_a_file_that_is_not_there_or_empty_or_closed_is_said_to_be",
        ),
    ),
    "E2": Entry(
        "bad, fuzzed and broken files",
        (MUTATED, FORMATS + "test_changed_bytes_by_the_thousand", "formats/parquet/test_parquet_mutations.py::*"),
        "Mutants of our own files, held against what pyarrow reads; no corpus is downloaded.",
    ),
    "E3": Entry(
        "a footer and data of different lengths",
        (
            LIES + "test_e3_a_footer_and_pages_that_disagree_on_records_are_refused",
            PARQUET + "test_a_footer_that_claims_other_numbers_of_records_is_refused",
        ),
        "Checked from the page headers, before anything is decoded.",
    ),
    "E4": Entry(
        "a wrong checksum",
        (
            PARQUET + "test_a_flipped_byte_under_a_checksum_is_found",
            PARQUET + "test_swapped_pages_are_found_where_they_have_checksums",
            "formats/parquet/test_parquet_mutations.py::test_mutations_under_checksums_give_the_same_records_or_an_error",
        ),
    ),
    "E5": Entry(
        "a bomb",
        (
            PARQUET + "test_a_bomb_is_refused_from_its_footer",
            LIES + "test_e5_a_page_that_unpacks_to_more_than_the_footer_admits_is_never_unpacked",
        ),
        "Page headers are looked at before pages are unpacked, in place of a limit on the memory of workers.",
    ),
    "E6": Entry("records that are claimed and not there", (LIES + "test_e6_records_that_are_claimed_and_not_there_take_no_memory",)),
    "E7": Entry("a schema that is no text", (PARQUET + "test_a_column_name_that_is_no_text_is_refused",)),
    "E8": Entry(
        "invalid arrays",
        (MUTATED, "formats/arrow/test_arrow.py::test_offsets_of_lists_that_lead_astray_are_refused"),
        "pyarrow makes the offsets of Parquet's lists itself; in Arrow files they are stored, and validated whole.",
    ),
    "E9": Entry("a type that differs between files", (DRIFT,)),
    "E10": Entry("a column that is missing in one file", (DRIFT,)),
    "E11": Entry("a column too many, or another order", (DRIFT,)),
    "E12": Entry("nulls in numbers", (PARQUET + "test_a_null_is_an_error_that_names_file_column_and_row",)),
    "E13": Entry("nulls in lists", (PARQUET + "test_a_null_image_is_an_error_and_rows_never_shift",)),
    "E14": Entry("lists of different lengths", (PARQUET + "test_lists_of_different_lengths_are_refused_with_their_row",)),
    "E15": Entry("dictionaries", (LIES + "test_e15_an_index_beyond_the_dictionary_is_an_error", MUTATED)),
    "E16": Entry("encryption", (PARQUET + "test_an_encrypted_file_is_refused_at_open",)),
    "E17": Entry(
        "codecs",
        (LIES + "test_e17_a_codec_is_read_right_or_refused_by_name", "formats/parquet/test_parquet.py::test_a_layout_is_delivered"),
        "pyarrow writes neither lzo nor the LZ4 of Hadoop: files that claim them are made by changing the footer.",
    ),
    "E18": Entry(
        "extension types that want to be unpickled",
        ("formats/arrow_types/test_extensions.py::test_e18_nothing_is_unpickled_whatever_a_type_says_of_itself",),
    ),
    "E19": Entry(
        "endless strings and lists in the footer",
        ("formats/parquet/test_parquet_mutations.py::test_thrift_structures_that_are_none_are_refused",),
        "The footer is read and checked by ourselves first; pyarrow's own limits are set too.",
    ),
    "E20": Entry(
        "a row group that is larger than memory",
        (
            PARQUET + "test_a_row_group_beyond_the_limit_is_refused_with_its_sizes",
            PARQUET + "test_a_row_group_larger_than_a_window_is_an_error_with_sizes_and_cure",
        ),
    ),
    "E21": Entry(
        "a file that is cut or changed while it is read",
        (PARQUET + "test_a_file_that_changes_after_it_was_opened_is_found_out", SWEEP + "test_a_mapped_file_that_shrinks_is_named"),
        "The user's process maps nothing; a worker that does, and dies of it, is named with the file.",
    ),
    "E22": Entry(
        "what else stands in a folder",
        (
            LIES + "test_e22_the_order_of_a_folder_does_not_depend_on_how_it_is_listed",
            "formats/test_partitions.py::test_a_folder_is_its_data_files_in_natural_order",
            "formats/test_open.py::test_paths_that_cannot_be_right_are_refused_by_name",
        ),
        "An empty file among others is an error: a copy may have been interrupted.",
    ),
    "E23": Entry(
        "links in circles, pipes, devices",
        (
            LIES + "test_e23_links_in_circles_and_devices_are_no_files",
            "formats/test_open.py::test_a_file_that_is_not_there_or_empty_or_closed_is_said_to_be",
        ),
    ),
}
