from django.db import migrations, models


def take_from_sessions(apps, schema_editor):
    """Whether the provider vouched for the address is known of those who are signed in; of others at their next sign-in."""
    Session = apps.get_model("authgate", "Session")
    for session in Session.objects.filter(ended_at=None).select_related("person").iterator():
        person, claims = session.person, session.claims
        if person.email and claims.get("email") == person.email and claims.get("email_verified") is True:
            person.email_verified = True
            person.save(update_fields=["email_verified"])


class Migration(migrations.Migration):

    dependencies = [
        ('authgate', '0013_role_api'),
    ]

    operations = [
        migrations.AddField(
            model_name='person',
            name='email_verified',
            field=models.BooleanField(db_default=False, default=False, editable=False, help_text='The provider vouched for it.', verbose_name='e-mail is verified'),
        ),
        migrations.RunPython(take_from_sessions, migrations.RunPython.noop),
    ]
