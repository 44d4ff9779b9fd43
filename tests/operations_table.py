"""Every operation, and the tests that use it through the whole running service.

Each test is named by its file below tests/e2e and its function. tests/e2e/conftest.py watches it
run, and fails it where it does not make the calls it is named for.
"""

from __future__ import annotations

USES: dict[str, tuple[str, ...]] = {
    "test_content.py::test_a_file_of_a_bucket_is_found_looked_at_and_described": (
        "checkConnectorAuth",
        "getThumbnail",
        "queryConnector",
        "searchMetadata",
    ),
    "test_content.py::test_what_is_known_of_a_channel_goes_into_exports_and_clips": (
        "createMetadata",
        "getSource",
    ),
    "test_export_service.py::test_joined_ranges_and_sidecars_reach_a_bucket_once": (
        "exportSegment",
        "listSegmentExports",
    ),
    "test_operations.py::test_a_channel_has_a_guide_clips_exports_and_jobs": (
        "cancelJob",
        "exportSegment",
        "getChannelEpg",
        "getChannelStation",
        "getClip",
        "listEvents",
        "listJobEvents",
        "listJobs",
        "listSegmentExports",
        "lookupStations",
        "removeChannelStation",
        "retryJob",
        "setChannelStation",
        "suggestStations",
    ),
    "test_operations.py::test_a_connector_is_made_checked_changed_and_deleted": (
        "checkConnectorAuth",
        "createConnector",
        "deleteConnector",
        "getConnector",
        "listConnectorTypes",
        "listConnectors",
        "queryConnector",
        "updateConnector",
    ),
    "test_operations.py::test_a_file_is_looked_at_shown_and_copied_here": (
        "getLocalization",
        "getSource",
        "getThumbnail",
        "localizeFile",
    ),
    "test_operations.py::test_a_key_is_made_rotated_and_disabled": (
        "createApiKey",
        "listApiKeys",
        "updateApiKey",
    ),
    "test_operations.py::test_a_project_is_taken_in_changed_told_and_deleted": (
        "createProject",
        "deleteProject",
        "getProject",
        "listProjects",
        "renderProject",
        "replaceTimeline",
        "updateProject",
    ),
    "test_operations.py::test_a_provider_lets_somebody_in_and_out": (
        "backchannelLogout",
        "deleteTenantSso",
        "finishSso",
        "getSsoConfig",
        "getTenantSso",
        "setTenantSso",
        "startSso",
    ),
    "test_operations.py::test_a_recipe_is_kept_changed_used_and_deleted": (
        "createRendition",
        "createRenditionJob",
        "deleteRendition",
        "getJobFile",
        "getRendition",
        "listRenditions",
        "updateRendition",
    ),
    "test_operations.py::test_a_recording_is_uploaded_and_others_are_given_up": (
        "cancelUpload",
        "completeUpload",
        "createDestination",
        "createUploadCredentials",
        "deleteDestination",
        "deleteTusUpload",
        "getDestination",
        "getUpload",
        "headTusUpload",
        "listDestinations",
        "listUploads",
        "patchTusUpload",
        "renewUploadCredentials",
        "updateDestination",
    ),
    "test_operations.py::test_a_second_factor_is_set_up_asked_for_and_removed": (
        "answerMfa",
        "authenticate",
        "confirmMfa",
        "enrolMfa",
        "removeMfa",
    ),
    "test_operations.py::test_a_stretch_of_a_store_is_kept_by_reference": ("createReference",),
    "test_operations.py::test_a_tenant_signs_up_is_kept_to_itself_and_goes": (
        "createTenant",
        "deleteTenant",
        "getTenant",
        "restoreTenant",
        "updateTenant",
    ),
    "test_operations.py::test_a_webhook_is_made_tried_changed_and_deleted": (
        "createWebhook",
        "deleteWebhook",
        "getWebhook",
        "listWebhookDeliveries",
        "listWebhooks",
        "redeliverWebhook",
        "testWebhook",
        "updateWebhook",
    ),
    "test_operations.py::test_somebody_is_invited_by_letter_forgets_and_recovers": (
        "authenticate",
        "changeTemporaryPassword",
        "confirmRecoverPassword",
        "createUser",
        "logout",
        "recoverPassword",
        "refreshToken",
    ),
    "test_operations.py::test_the_service_says_what_it_is": (
        "getHealth",
        "getJwks",
        "getMetrics",
        "getReadiness",
        "getTusOptions",
        "getVersion",
        "verifyToken",
    ),
    "test_operations.py::test_users_are_changed_and_deleted_and_it_is_written_down": (
        "createUser",
        "deleteUser",
        "deleteUserByEmail",
        "exportAudit",
        "getUser",
        "listAudit",
        "listUsers",
        "updateUser",
        "updateUserByEmail",
    ),
    "test_operations.py::test_what_is_known_is_written_found_changed_and_forgotten": (
        "createMetadata",
        "createMetadataView",
        "deleteMetadata",
        "deleteMetadataView",
        "getMetadata",
        "getMetadataView",
        "listMetadata",
        "listMetadataDefinitions",
        "listMetadataViews",
        "searchMetadata",
        "updateMetadata",
        "updateMetadataView",
    ),
    "test_projects_service.py::test_a_project_of_channels_clips_and_files_becomes_one_file": (
        "createProject",
        "getProject",
        "listProjects",
        "renderProject",
        "replaceTimeline",
    ),
    "test_rendition_service.py::test_a_file_is_made_by_a_recipe_of_ones_own": ("createRendition",),
    "test_rendition_service.py::test_a_ladder_lies_in_a_folder": ("createRenditionJob",),
    "test_reporter.py::test_a_small_picture_is_posted_as_a_form": (
        "completeUpload",
        "createUploadCredentials",
    ),
    "test_reporter.py::test_parts_go_to_a_bucket_with_urls_that_are_renewed_for_the_same_upload": (
        "renewUploadCredentials",
    ),
    "test_reporter.py::test_the_media_store_takes_uploads_too": (
        "headTusUpload",
        "patchTusUpload",
    ),
    "test_reporter.py::test_what_is_not_what_was_announced_is_removed_and_says_so": ("getUpload",),
    "test_service.py::test_a_cancelled_fetch_stops_within_two_seconds": ("cancelJob",),
    "test_service.py::test_a_clip_is_accepted_followed_and_exact": (
        "clipFromStream",
        "getJob",
    ),
    "test_service.py::test_a_failed_job_is_tried_again_when_asked": ("retryJob",),
    "test_service.py::test_a_job_is_followed_as_a_stream_that_ends_with_it": ("listJobEvents",),
    "test_service.py::test_a_reader_who_comes_back_hears_only_what_followed": ("listEvents",),
    "test_service.py::test_every_spelling_of_a_clip_is_one_job": ("getClip",),
    "test_service.py::test_it_says_that_it_is_ready": ("getReadiness",),
    "test_service.py::test_lists_are_filtered": ("listJobs",),
    "test_service.py::test_the_first_start_writes_credentials_for_their_owner_alone": (
        "listConnectors",
    ),
    "test_webhooks.py::test_a_test_a_rotation_and_a_redelivery": (
        "redeliverWebhook",
        "testWebhook",
        "updateWebhook",
    ),
    "test_webhooks.py::test_what_is_deleted_is_told_no_more": (
        "createWebhook",
        "deleteWebhook",
    ),
}


def of_test(name: str) -> frozenset[str]:
    """The operations a test is named for."""
    return frozenset(USES.get(name, ()))


def tests_of(operation_id: str) -> list[str]:
    """The tests that use an operation."""
    return [name for name, used in USES.items() if operation_id in used]
