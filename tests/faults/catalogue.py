"""Every way to fail that is known, by its number, and the tests that inject it.

Sections: A workers, B the user's process, C shared memory, D HDF5 files, E Parquet files, F kernels and collation, G states, H
conversions.
`Entry.note` says where a test injects less than the fault, or judges the fault otherwise than it was first written down, and why.
"""

from __future__ import annotations

from faults.entry import Entry
from faults.parquet_faults import PARQUET_FAULTS

WORKERS, LIVES, MEMORIES = "faults/test_workers.py::", "faults/test_lives.py::", "faults/test_memories.py::"
SWEEP, KERNELS, STATES = "faults/test_sweep.py::", "faults/test_kernels.py::", "faults/test_states.py::"
HDF5, LINKS, PROBING = "formats/hdf5/test_hdf5_faults.py::", "formats/hdf5/test_links.py::", "formats/hdf5/test_inspector.py::"
CHANGES, MACHINES, MUTATIONS = "faults_hdf5/test_changes.py::", "faults_hdf5/test_machines.py::", "faults_hdf5/test_mutations.py::"

CONVERT, TASKS = "tools/convert/test_convert_faults.py::", "tools/convert/test_tasks.py::"
WRITING = "tools/convert/test_writing_faults.py::"
WHOLE, FLIPS = "tools/convert/test_convert.py::", "tools/convert/test_verify_flips.py::"
ARCHIVES = "tools/convert/test_convert_webdataset.py::"
PICTURES = "tools/convert/test_convert_images.py::"

ANY_POINT = WORKERS + "test_a_worker_killed_at_any_point_of_a_step_is_named_and_its_bytes_are_never_shown"
NATIVE = WORKERS + "test_a_native_crash_comes_with_where_it_happened"
LEAVES = WORKERS + "test_a_worker_that_leaves_is_a_crash_whatever_its_status"
HOSTILE = WORKERS + "test_a_hostile_exception_arrives_as_text"
HANGS = WORKERS + "test_a_worker_that_hangs_is_an_error_that_says_where"
CLOSES = WORKERS + "test_a_loader_closes_in_time_whatever_its_workers_do"
DEATHS = SWEEP + "test_a_death_at_any_point_is_named_in_time"
ENDS_WELL = LIVES + "test_a_program_ends_well_with_a_loader_alive"
SECOND = LIVES + "test_a_second_iterator_ends_the_first_and_never_mixes_with_it"
NAMELESS = MEMORIES + "test_shared_memory_has_no_name_and_nobody_tracks_it"
UNFIT = MEMORIES + "test_a_result_that_does_not_fit_its_slot_is_refused_with_both_sides"
ROOM = MEMORIES + "test_the_size_of_dev_shm_does_not_matter"
NO_MEMFD = MEMORIES + "test_without_memfd_shared_memory_is_a_file_that_nobody_can_see"
COLD = KERNELS + "test_kernels_that_cannot_be_kept_are_compiled_for_the_run"
CHANGED = CHANGES + "test_d3_d4_d5_a_file_that_changes_is_an_error_and_never_a_wrong_record"
RESUMED = TASKS + "test_killed_at_any_point_it_goes_on_and_comes_to_the_same_bytes"
FULL = CONVERT + "test_a_full_disk_is_told_and_leaves_nothing"
FLIPPED = MUTATIONS + "test_flipped_bytes_give_the_same_records_or_an_error"

CATALOGUE: dict[str, Entry] = {
    "A1": Entry("SIGKILL while reading", (ANY_POINT, WORKERS + "test_a_worker_killed_from_outside_is_named", DEATHS)),
    "A2": Entry("SIGKILL half-way through a slot", (ANY_POINT,)),
    "A3": Entry(
        "killed between write and answer",
        (ANY_POINT, WORKERS + "test_a_worker_that_dies_before_it_answers_holds_nothing_that_another_needs"),
        "50 times, not 500: there is no lock that could be held, so more repeats look for nothing.",
    ),
    "A4": Entry("SIGSEGV in native code", (NATIVE, DEATHS)),
    "A5": Entry("SIGBUS: a mapped file shrinks", (SWEEP + "test_a_mapped_file_that_shrinks_is_named",)),
    "A6": Entry("SIGABRT", (NATIVE,)),
    "A7": Entry("exit with status 0 in a transform", (LEAVES, DEATHS)),
    "A8": Entry("exit with another status", (LEAVES, DEATHS)),
    "A9": Entry(
        "an exception in a transform", (WORKERS + "test_an_exception_in_a_transform_names_its_record_after_the_batches_before_it",)
    ),
    "A10": Entry("an exception that does not pickle, or harms who pickles it", (HOSTILE,)),
    "A11": Entry("an exception that cannot be printed, or has 100 MB to say", (HOSTILE,)),
    "A12": Entry(
        "exceptions that steer Python, raised in a transform",
        (WORKERS + "test_an_exception_that_means_something_to_python_means_nothing_here", LEAVES),
        "They stay plain TransformErrors: one that is a StopIteration too would end a loop in silence.",
    ),
    "A13": Entry("MemoryError in a worker", (WORKERS + "test_a_worker_survives_a_lack_of_memory_in_a_transform",)),
    "A14": Entry("recursion and native stack overflow", (NATIVE, HOSTILE)),
    "A15": Entry("a worker hangs in Python", (HANGS, SWEEP + "test_a_stop_at_any_point_is_a_timeout_and_closing_takes_no_longer")),
    "A16": Entry("a worker hangs in native code with the GIL held", (HANGS, CLOSES)),
    "A17": Entry("SIGSTOP", (HANGS, CLOSES, SWEEP + "test_a_stop_at_any_point_is_a_timeout_and_closing_takes_no_longer")),
    "A18": Entry("slow, not stuck", (WORKERS + "test_slow_is_not_stuck", MACHINES + "test_d27_a_slow_disk_is_waited_for")),
    "A19": Entry(
        "death at start or import",
        (
            WORKERS + "test_workers_that_cannot_begin_are_a_start_error",
            SWEEP + "test_a_launcher_that_dies_is_named_and_the_next_loader_has_another",
            "loader/test_entry_modes.py::*",
        ),
    ),
    "A20": Entry(
        "a transform that does not travel",
        (
            WORKERS + "test_a_transform_that_cannot_travel_is_refused_at_once",
            WORKERS + "test_lambdas_closures_and_functions_of_the_main_module_travel",
        ),
        "Lambdas and closures do travel; what holds a lock, a file or an h5py object does not.",
    ),
    "A21": Entry(
        "a batch that kills its workers, under the restart policy",
        (
            SWEEP + "test_a_batch_that_two_workers_die_of_is_poison",
            SWEEP + "test_a_replaced_worker_does_the_same_batch_byte_for_byte",
            SWEEP + "test_a_worker_that_dies_once_is_replaced_and_nobody_notices",
            SWEEP + "test_workers_that_never_get_to_work_are_not_replaced_for_ever",
        ),
    ),
    "A22": Entry("all workers killed at once", (WORKERS + "test_one_error_tells_of_all_workers_that_died_together",)),
    "A23": Entry(
        "a transform starts processes and threads that outlive it",
        (WORKERS + "test_what_a_transform_starts_does_not_outlive_its_worker",),
        "A process that puts itself into a session of its own escapes: without a control group nothing could find it.",
    ),
    "A24": Entry("descriptors 0 to 2 closed, garbage on stdout", (WORKERS + "test_standard_streams_carry_nothing_of_ours",)),
    "A25": Entry(
        "fork fails with EAGAIN",
        (MEMORIES + "test_a_fork_that_fails_is_an_error_and_the_others_are_stopped",),
        "The C library's fork is made to fail: RLIMIT_NPROC itself does not bind root, as which the tests may run.",
    ),
    "A26": Entry("too few descriptors", (MEMORIES + "test_too_few_descriptors_are_an_error_before_any_worker",)),
    "B1": Entry("Ctrl-C", (LIVES + "test_control_c_ends_the_program_at_once_with_one_traceback",)),
    "B2": Entry("a second Ctrl-C while closing", (LIVES + "test_a_second_control_c_while_closing_leaves_nothing",)),
    "B3": Entry("SIGTERM to the program", (LIVES + "test_a_polite_signal_to_the_program_alone_ends_its_workers",)),
    "B4": Entry(
        "SIGKILL to the program",
        (
            LIVES + "test_workers_end_with_their_program_however_it_dies_and_whatever_they_do",
            LIVES + "test_workers_end_with_their_program_ten_times",
        ),
    ),
    "B5": Entry(
        "SIGKILL to the program while a worker holds the GIL",
        (
            LIVES + "test_workers_end_with_their_program_however_it_dies_and_whatever_they_do",
            LIVES + "test_workers_end_with_a_launcher_that_is_killed",
        ),
    ),
    "B6": Entry("break", (LIVES + "test_leaving_a_loop_early_loses_nothing",)),
    "B7": Entry("iterators and loaders that are dropped", (LIVES + "test_iterators_and_loaders_that_are_dropped_leave_nothing",)),
    "B8": Entry("a loader in a cycle, or held by a traceback", (ENDS_WELL,)),
    "B9": Entry("the interpreter ends with a loader alive", (ENDS_WELL,)),
    "B10": Entry("daemon threads in HDF5", (LIVES + "test_no_thread_is_ever_started", ENDS_WELL)),
    "B11": Entry("two iterators in turn", (SECOND,)),
    "B12": Entry("nested loops over one loader", (SECOND,)),
    "B13": Entry("next() from several threads", (LIVES + "test_threads_that_share_an_iterator_get_each_batch_once",)),
    "B14": Entry("use after close", (LIVES + "test_a_closed_loader_says_so",)),
    "B15": Entry(
        "next() after an error",
        (LIVES + "test_an_epoch_that_failed_leaves_the_next_alone", ANY_POINT),
        "Every test of an error asks twice, and wants the same error object again.",
    ),
    "B16": Entry(
        "close() twice, in a handler, at exit",
        (LIVES + "test_a_closed_loader_says_so", LIVES + "test_a_loader_closes_under_a_call_that_waits", ENDS_WELL),
    ),
    "B17": Entry("fork of the program with a loader alive", (LIVES + "test_a_fork_of_the_program_cannot_touch_the_loader",)),
    "B18": Entry(
        "fork while HDF5 is busy in a thread",
        (LIVES + "test_forks_of_a_busy_program_read_what_is_there",),
        "10 forks, not 30. Modules are imported before: Python's own import lock does not survive a fork.",
    ),
    "B19": Entry(
        "handles used in forks",
        (
            LIVES + "test_forks_of_a_busy_program_read_what_is_there",
            LIVES + "test_workers_inherit_no_file_of_the_program",
            "formats/hdf5/test_hdf5.py::test_a_forked_process_opens_its_own_handles",
        ),
    ),
    "B20": Entry("pyarrow's threads before workers start", (LIVES + "test_threads_of_other_libraries_do_not_matter",)),
    "B21": Entry("numba's threads before workers start", (LIVES + "test_threads_of_other_libraries_do_not_matter",)),
    "B22": Entry(
        "stale slots and errors in later epochs",
        (LIVES + "test_leaving_a_loop_early_loses_nothing", LIVES + "test_an_epoch_that_failed_leaves_the_next_alone"),
    ),
    "B23": Entry(
        "the program is stopped for long",
        (LIVES + "test_time_in_which_nobody_could_work_is_not_a_hang",),
        "For twice the timeout, and all processes at once too.",
    ),
    "B24": Entry(
        "the clock jumps",
        (LIVES + "test_no_decision_looks_at_the_clock_on_the_wall", MEMORIES + "test_a_clock_that_jumps_by_years_does_not_matter"),
    ),
    "B25": Entry("memory of workers grows", (LIVES + "test_the_memory_of_workers_is_flat",)),
    "B26": Entry("the same randomness in every worker", (LIVES + "test_randomness_depends_on_the_record_and_not_on_the_worker",)),
    "C1": Entry("/dev/shm too small", (ROOM, NO_MEMFD)),
    "C2": Entry(
        "memory really short",
        (MEMORIES + "test_a_control_group_that_is_full_is_an_error_before_anything_is_read", "memory/test_limits.py::*"),
        "The kernel's files are private ones: a real group needs rights that a test may not have.",
    ),
    "C3": Entry("the whole group killed", (MEMORIES + "test_a_group_that_is_killed_leaves_nothing",)),
    "C4": Entry("stale names", (NAMELESS,), "There are no names."),
    "C5": Entry("noise of the resource tracker", (NAMELESS,), "It is not used; every test looks at stderr."),
    "C6": Entry("the resource tracker killed", (NAMELESS,), "It is not used."),
    "C7": Entry("a worker deletes its parent's segment", (NAMELESS,), "There is nothing to delete."),
    "C8": Entry(
        "a view used after close", (MEMORIES + "test_batches_that_are_kept_stay_as_they_were", LIVES + "test_a_closed_loader_says_so")
    ),
    "C9": Entry(
        "every batch kept",
        (MEMORIES + "test_batches_that_are_kept_stay_as_they_were", "loader/test_leases.py::*"),
        "Copied beyond a few, with a warning; nothing waits for a slot, so there is no slot timeout.",
    ),
    "C10": Entry("the user writes into a batch", (MEMORIES + "test_what_a_user_writes_into_a_batch_stays_in_it",)),
    "C11": Entry("a slot of another task", (MEMORIES + "test_a_slot_that_was_written_over_is_never_shown",)),
    "C12": Entry(
        "a worker writes past its slot",
        (MEMORIES + "test_a_slot_that_was_written_over_is_never_shown", UNFIT),
        "A word behind each slot, always, in place of guard pages in tests alone.",
    ),
    "C13": Entry("a batch larger than its slot", (UNFIT,), "A SchemaMismatchError: every record of a field has one shape here."),
    "C14": Entry(
        "creation fails half-way",
        (MEMORIES + "test_a_loader_is_made_whole_or_not_at_all", MEMORIES + "test_shared_memory_that_may_not_grow_is_an_error"),
    ),
    "C15": Entry("/dev/shm of 64 MB, noexec, read-only", (ROOM,)),
    "C16": Entry("no memfd", (NO_MEMFD,), "ENOSYS from the C library, in the program and in its workers."),
    "D1": Entry(
        "not HDF5, empty, missing, a folder, not permitted",
        (
            HDF5 + "test_d1_a_file_that_may_not_be_read_is_said_to_be",
            MACHINES + "test_d1_a_file_that_may_not_be_read_is_said_to_be",
            "formats/test_open.py::test_a_file_that_is_not_there_or_empty_or_closed_is_said_to_be",
        ),
    ),
    "D2": Entry(
        "truncated before open",
        (
            HDF5 + "test_d2_a_file_cut_short_is_refused_with_both_sizes",
            HDF5 + "test_d2_a_file_cut_within_its_first_bytes_is_refused",
            MUTATIONS + "test_a_file_cut_at_any_percent_is_refused",
        ),
    ),
    "D3": Entry("truncated after open", (HDF5 + "test_d3_a_file_cut_after_opening_is_an_error_and_never_zeros", CHANGED)),
    "D4": Entry("replaced by rename", (CHANGED, CHANGES + "test_d4_d5_a_file_changed_between_opening_and_the_first_batch_is_an_error")),
    "D5": Entry("overwritten in place", (CHANGED, CHANGES + "test_d4_d5_a_file_changed_between_opening_and_the_first_batch_is_an_error")),
    "D6": Entry(
        "a flipped bit",
        (FLIPPED, "formats/columns/test_chunked.py::test_every_damaged_byte_of_a_chunk_is_named_or_harmless"),
        "Where nothing in a file checks its bytes, a flipped one is read as it stands: what the HDF5 library reads too.",
    ),
    "D7": Entry("a writer still has it open", (HDF5 + "test_d7_a_file_that_is_being_written_is_busy",)),
    "D8": Entry(
        "a writer was killed",
        (
            HDF5 + "test_d8_a_file_whose_writer_was_killed_gets_the_hint_and_is_not_touched",
            HDF5 + "test_d8_a_file_that_was_never_flushed_is_damaged",
        ),
    ),
    "D9": Entry("no locks", (MACHINES + "test_d9_a_file_system_without_locks_will_do",)),
    "D10": Entry("our readers and the user's writer", (MACHINES + "test_d10_a_writer_of_the_user_is_not_kept_out_by_an_open_source",)),
    "D11": Entry(
        "a file that grows",
        (MACHINES + "test_d11_a_file_that_grows_under_a_writer_is_busy_and_later_a_changed_one",),
    ),
    "D12": Entry(
        "a missing filter",
        (
            HDF5 + "test_d12_a_filter_that_is_not_installed_is_refused_by_number_and_name",
            HDF5 + "test_d12_filters_of_hdf5plugin_are_used_where_it_is_installed_and_named_where_not",
        ),
    ),
    "D13": Entry("external storage", (LINKS + "test_d13_external_storage_is_refused_before_any_read",)),
    "D14": Entry(
        "external links",
        (
            LINKS + "test_d14_a_link_that_leaves_the_folder_is_refused_and_leaves_out_no_more_than_itself",
            LINKS + "test_d14_a_link_into_another_file_is_followed_within_the_folder",
        ),
    ),
    "D15": Entry("soft links", (LINKS + "test_d15_soft_links_inside_are_followed_and_others_are_not",)),
    "D16": Entry(
        "virtual datasets",
        (
            LINKS + "test_d16_a_virtual_dataset_reads_only_what_lies_beside_it",
            LINKS + "test_d16_a_virtual_dataset_is_followed_to_its_last_source",
        ),
        "Within the file's own folder they are read.",
    ),
    "D17": Entry(
        "shapes without data",
        (HDF5 + "test_d17_a_shape_without_data_is_not_believed", HDF5 + "test_d17_a_grid_of_endless_chunks_is_refused"),
    ),
    "D18": Entry("chunks of gigabytes", (HDF5 + "test_d18_a_chunk_that_unpacks_to_gigabytes_is_refused",)),
    "D19": Entry("circles and depth of groups", (LINKS + "test_d19_groups_in_circles_and_in_depth_are_walked_once_and_no_further",)),
    "D20": Entry(
        "files that kill the library",
        (PROBING + "test_d20_a_file_that_kills_the_library_is_an_error_and_the_next_file_opens", FLIPPED),
        "Mutants of our own by the thousand, and a library that is made to crash; no corpus is downloaded.",
    ),
    "D21": Entry("types", (HDF5 + "test_d21_types_without_a_fixed_size_are_left_out_or_refused_by_name", "formats/hdf5/test_hdf5.py::*")),
    "D22": Entry("no records", (HDF5 + "test_d22_datasets_that_hold_no_records",)),
    "D23": Entry("unequal lengths", ("formats/test_open.py::test_a_pair_that_differs_in_length_is_never_cut_to_fit",)),
    "D24": Entry("beyond 4 GB", (HDF5 + "test_d24_records_beyond_four_gigabytes_are_found",)),
    "D25": Entry("EIO", (MACHINES + "test_d25_a_read_that_fails_names_the_file_and_the_reason",)),
    "D26": Entry("short reads", (MACHINES + "test_d26_reads_that_come_in_halves_are_put_together",)),
    "D27": Entry("a slow disk", (MACHINES + "test_d27_a_slow_disk_is_waited_for",)),
    "D28": Entry("the library's cache", (MACHINES + "test_d28_the_librarys_cache_is_sized_by_the_chunks_and_counted",)),
    "D29": Entry("10,000 files", (MACHINES + "test_d29_ten_thousand_files_are_one_source",)),
    "D30": Entry("the environment of the library", (HDF5 + "test_d30_plugins_are_not_looked_for_where_everyone_may_write",)),
    "D31": Entry("pickles in attributes", (MACHINES + "test_d31_attributes_are_never_read",)),
    **PARQUET_FAULTS,
    "F1": Entry("an index out of range", (KERNELS + "test_record_numbers_outside_the_data_are_refused_before_a_kernel_sees_them",)),
    "F2": Entry(
        "a negative index",
        (KERNELS + "test_record_numbers_outside_the_data_are_refused_before_a_kernel_sees_them",),
        "Refused in orders and subsets; data[-1] is the last record, as NumPy has it.",
    ),
    "F3": Entry(
        "no place for compiled kernels; two programs compile at once",
        (COLD, KERNELS + "test_two_programs_that_compile_at_once_do_not_disturb_each_other"),
    ),
    "F4": Entry("a cache of compiled kernels that others may write", (KERNELS + "test_a_cache_that_others_may_write_or_own_is_not_used",)),
    "F5": Entry("compiling taken for a hang", (COLD, KERNELS + "test_two_programs_that_compile_at_once_do_not_disturb_each_other")),
    "F6": Entry("too many threads", (LIVES + "test_no_thread_is_ever_started",)),
    "F7": Entry(
        "odd shapes and types",
        (UNFIT, MEMORIES + "test_a_ragged_result_is_an_error", MEMORIES + "test_results_of_every_kind_arrive_to_the_bit"),
    ),
    "F8": Entry(
        "NaN, infinity, overflow",
        (MEMORIES + "test_results_of_every_kind_arrive_to_the_bit",),
        "Nothing here computes with records: what is delivered is what was stored or returned, payloads of NaNs included.",
    ),
    "F9": Entry("numba missing", (KERNELS + "test_without_numba_everything_is_the_same_but_slower",)),
    "G1": Entry("a state that is not JSON", (STATES + "test_a_state_is_plain_json_and_resumes_from_every_step_with_batches_in_flight",)),
    "G2": Entry("a state of something else", (STATES + "test_a_foreign_state_is_refused_by_what_differs", "loader/test_resume.py::*")),
    "G3": Entry("a hostile state", (STATES + "test_a_hostile_state_is_refused_at_once_and_harms_nothing",)),
    "G4": Entry(
        "a state with batches in flight",
        (STATES + "test_a_state_is_plain_json_and_resumes_from_every_step_with_batches_in_flight", "loader/test_resume.py::*"),
    ),
    "G6": Entry(
        "order and bytes after a crash, under the restart policy",
        (
            SWEEP + "test_a_replaced_worker_does_the_same_batch_byte_for_byte",
            SWEEP + "test_a_worker_that_dies_once_is_replaced_and_nobody_notices",
            SWEEP + "test_workers_that_are_killed_at_random_are_replaced",
        ),
    ),
    "H1": Entry("a converter killed at any point", (RESUMED, CONVERT + "test_killed_at_any_moment_it_is_whole_or_not_there")),
    "H2": Entry(
        "resume after a kill",
        (
            RESUMED,
            CONVERT + "test_what_was_killed_goes_on_where_it_was_and_comes_to_the_same_bytes",
            CONVERT + "test_another_request_begins_anew",
            TASKS + "test_what_was_moved_and_taken_away_is_made_anew",
        ),
    ),
    "H3": Entry("a full disk", (FULL,)),
    "H4": Entry(
        "a limit of file sizes, a quota",
        (CONVERT + "test_a_limit_on_file_sizes_is_told_and_leaves_nothing",),
        "EDQUOT goes the way of EFBIG and ENOSPC, and is not injected by itself.",
    ),
    "H5": Entry("EIO of a write, EIO of an fsync", (WRITING + "test_h5_a_write_that_fails_fails_the_file",)),
    "H6": Entry("short writes, EINTR", (WRITING + "test_h6_writes_that_do_less_than_asked_go_on",)),
    "H7": Entry("a crash between the rename and the folder's fsync", (CONVERT + "test_data_reaches_the_disk_before_its_name",)),
    "H8": Entry(
        "the output exists",
        (
            CONVERT + "test_an_output_that_exists_is_replaced_only_when_asked",
            CONVERT + "test_a_folder_is_exchanged_whole",
        ),
    ),
    "H9": Entry(
        "the output is the input, or lies in it",
        (CONVERT + "test_a_link_to_the_source_is_the_source", WHOLE + "test_what_cannot_be_meant_is_refused"),
    ),
    "H10": Entry(
        "two converters on one output",
        (
            CONVERT + "test_two_conversions_to_one_target_do_not_meet",
            TASKS + "test_the_lock_is_shared_by_tasks_of_one_request_only",
            TASKS + "test_two_workers_at_one_task_do_not_meet",
        ),
    ),
    "H11": Entry(
        "a folder that is read-only, temporary files on another disk",
        (
            WRITING + "test_h11_everything_is_written_beside_the_target",
            WRITING + "test_h11_what_may_not_be_written_or_read_is_named",
        ),
    ),
    "H12": Entry("Ctrl-C in a conversion", (CONVERT + "test_ctrl_c_ends_it_quietly",)),
    "H13": Entry(
        "a process of the converter dies",
        (
            CONVERT + "test_a_process_that_dies_is_named_with_its_source",
            TASKS + "test_an_executor_that_fails_is_told_apart_from_a_task_that_does",
        ),
    ),
    "H14": Entry(
        "a byte that changes after it was written",
        (FLIPS + "test_every_flipped_byte_is_found", FLIPS + "test_every_flipped_byte_of_a_manifest_is_found"),
    ),
    "H15": Entry("one bad image among many", (PICTURES + "test_damaged_images_are_left_out_where_that_was_asked",)),
    "H16": Entry(
        "killed before the manifest",
        (
            CONVERT + "test_killed_between_the_name_and_the_manifest_it_finishes_the_next_time",
            WHOLE + "test_files_that_are_missing_or_too_many",
        ),
    ),
    "H17": Entry("hostile names in archives", (ARCHIVES + "test_folders_and_links_are_passed_over_and_names_lead_nowhere",)),
    "H18": Entry("image bombs", (PICTURES + "test_an_image_bomb_is_not_decoded",)),
}
